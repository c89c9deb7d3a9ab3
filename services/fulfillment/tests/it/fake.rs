//! An inventory that is played: it reserves all or nothing, once per reservation id.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Deref;

use contract::inventory::v1 as stock;
use server::Violation;
use test_world::{Fake, at, stamp};
use tonic::{Code, Status};

use crate::support::START;

/// One position.
#[derive(Debug, Clone, Default)]
struct Shelf {
    on_hand: i64,
    reserved: i64,
    version: i64,
    kept: Vec<stock::ChannelClaim>,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Books {
    shelves: BTreeMap<(String, String), Shelf>,
    kits: Vec<stock::Sku>,
    held: HashMap<String, stock::NewReservation>,
    gone: HashSet<String>,
}

/// The inventory.
#[derive(Clone)]
pub(crate) struct FakeInventory(Fake<Books>);

impl Deref for FakeInventory {
    type Target = Fake<Books>;

    fn deref(&self) -> &Fake<Books> {
        &self.0
    }
}

impl FakeInventory {
    pub(crate) fn new() -> Self {
        let fake = Fake::new(Books::default())
            .answers("Reserve", Books::reserve)
            .answers("ReleaseReservation", |books, asked| Ok(books.release(asked)))
            .answers("ExtendReservation", Books::extend)
            .answers("GetSku", Books::sku)
            .streams("StreamPositions", |books, _: &stock::StreamPositionsRequest| {
                Ok(vec![books.positions()])
            });
        Self(fake)
    }

    /// Units of a position are kept for a channel.
    pub(crate) fn keep(&self, node: &str, sku: &str, channel: &str, kept: i64) {
        let mut books = self.books();
        let shelf = books.shelves.entry((node.to_owned(), sku.to_owned())).or_default();
        shelf.kept.push(stock::ChannelClaim { channel: channel.to_owned(), reserved: 0, kept });
        shelf.version += 1;
    }

    pub(crate) fn put(&self, node: &str, sku: &str, on_hand: i64) {
        let mut books = self.books();
        let shelf = books.shelves.entry((node.to_owned(), sku.to_owned())).or_default();
        shelf.on_hand = on_hand;
        shelf.version += 1;
    }

    pub(crate) fn put_kit(&self, sku: &str, parts: &[(&str, i64)]) {
        let kit_parts = parts
            .iter()
            .map(|(sku, quantity)| stock::KitPart { sku: (*sku).to_owned(), quantity: *quantity })
            .collect();
        self.books().kits.push(stock::Sku { sku: sku.to_owned(), kit_parts, ..Default::default() });
    }

    /// The next calls to reserve are turned away, after those whose answers are lost.
    pub(crate) fn shed(&self, count: usize) {
        self.refuse("Reserve", count, &Status::resource_exhausted("too many calls"));
    }

    /// How long a reservation was asked for, in seconds.
    pub(crate) fn ttl(&self, reservation: &str) -> Option<i64> {
        let mut asked = self.done::<stock::ReserveRequest>("Reserve").into_iter();
        let is_asked = |claim: &stock::NewReservation| claim.reservation_id == reservation;
        asked.rfind(|asked| asked.reservations.iter().any(is_asked))?.ttl.map(|ttl| ttl.seconds)
    }

    /// When a reservation ends by itself, in seconds since 1970.
    pub(crate) fn expires(&self, reservation: &str) -> Option<i64> {
        let mut asked = self.done::<stock::ExtendReservationRequest>("ExtendReservation").into_iter();
        let asked = asked.rfind(|asked| asked.reservation_ids.iter().any(|id| id == reservation))?;
        asked.expire_time.map(|at| at.seconds)
    }

    /// How many reservations hold stock.
    pub(crate) fn held(&self) -> usize {
        self.books().held.len()
    }

    /// Units reserved of a SKU at a node.
    pub(crate) fn reserved(&self, node: &str, sku: &str) -> i64 {
        self.books().shelves.get(&(node.to_owned(), sku.to_owned())).map_or(0, |shelf| shelf.reserved)
    }
}

fn reservations<'a>(
    ids: impl IntoIterator<Item = &'a String>,
    state: stock::ReservationState,
) -> Vec<stock::Reservation> {
    let one = |id: &String| stock::Reservation {
        reservation_id: id.clone(),
        state: state.into(),
        ..Default::default()
    };
    ids.into_iter().map(one).collect()
}

fn refused(reason: &'static str, message: &str, facts: Vec<(String, String)>) -> Status {
    let reason =
        server::Reason { name: reason, code: Code::FailedPrecondition, ..server::reason::CALLER_NOT_ALLOWED };
    server::status(reason, "inventory.entrepot", message.to_owned(), facts)
}

impl Books {
    fn reserve(&mut self, asked: &stock::ReserveRequest) -> Result<stock::ReserveResponse, Status> {
        if asked.ttl.is_some_and(|ttl| ttl.seconds > 7 * 24 * 3_600) {
            return Err(Status::invalid_argument("ttl: must be at most 7 days"));
        }
        if asked.reservations.iter().any(|claim| self.gone.contains(&claim.reservation_id)) {
            return Err(refused("RESERVATION_RELEASED", "released before", Vec::new()));
        }
        let before = self.clone();
        self.let_go(&asked.instead_of);
        let answer = self.claim(asked);
        if answer.is_err() {
            *self = before;
        }
        answer
    }

    fn claim(&mut self, asked: &stock::ReserveRequest) -> Result<stock::ReserveResponse, Status> {
        let is_new = |claim: &&stock::NewReservation| !self.held.contains_key(&claim.reservation_id);
        let claims: Vec<stock::NewReservation> = asked.reservations.iter().filter(is_new).cloned().collect();
        let mut wanted: BTreeMap<(String, String), i64> = BTreeMap::new();
        for (r, claim) in claims.iter().enumerate() {
            for (i, line) in claim.lines.iter().enumerate() {
                if !self.shelves.keys().any(|(_, sku)| *sku == line.sku) {
                    let violation = Violation::new(format!("reservations[{r}].lines[{i}].sku"), "is unknown");
                    return Err(server::invalid("inventory.entrepot", vec![violation]));
                }
                *wanted.entry((claim.node_id.clone(), line.sku.clone())).or_default() += line.quantity;
            }
        }
        for ((node, sku), wanted) in &wanted {
            let shelf = self.shelves.get(&(node.clone(), sku.clone()));
            let available = shelf.map_or(0, |shelf| shelf.on_hand - shelf.reserved);
            if available < *wanted {
                let wants = |claim: &&stock::NewReservation| {
                    claim.node_id == *node && claim.lines.iter().any(|line| line.sku == *sku)
                };
                let first = claims.iter().find(wants).map(|claim| claim.reservation_id.clone());
                let facts = vec![
                    ("reservation_id".to_owned(), first.unwrap_or_default()),
                    ("sku".to_owned(), sku.clone()),
                    ("wanted".to_owned(), wanted.to_string()),
                    ("available".to_owned(), available.to_string()),
                ];
                return Err(refused("NO_STOCK", "not enough", facts));
            }
        }
        for (key, units) in wanted {
            if let Some(shelf) = self.shelves.get_mut(&key) {
                shelf.reserved += units;
                shelf.version += 1;
            }
        }
        self.held.extend(claims.into_iter().map(|claim| (claim.reservation_id.clone(), claim)));
        let ids = asked.reservations.iter().map(|claim| &claim.reservation_id);
        Ok(stock::ReserveResponse { reservations: reservations(ids, stock::ReservationState::Held) })
    }

    fn release(&mut self, asked: &stock::ReleaseReservationRequest) -> stock::ReleaseReservationResponse {
        self.let_go(&asked.reservation_ids);
        let reservations = reservations(&asked.reservation_ids, stock::ReservationState::Released);
        stock::ReleaseReservationResponse { reservations }
    }

    fn let_go(&mut self, ids: &[String]) {
        for id in ids {
            let claim = self.held.remove(id).unwrap_or_default();
            for line in claim.lines {
                if let Some(shelf) = self.shelves.get_mut(&(claim.node_id.clone(), line.sku)) {
                    shelf.reserved -= line.quantity;
                }
            }
            self.gone.insert(id.clone());
        }
    }

    fn extend(
        &mut self,
        asked: &stock::ExtendReservationRequest,
    ) -> Result<stock::ExtendReservationResponse, Status> {
        if !asked.reservation_ids.iter().all(|id| self.held.contains_key(id)) {
            return Err(Status::failed_precondition("gone"));
        }
        let reservations = reservations(&asked.reservation_ids, stock::ReservationState::Held);
        Ok(stock::ExtendReservationResponse { reservations })
    }

    fn sku(&mut self, asked: &stock::GetSkuRequest) -> Result<stock::GetSkuResponse, Status> {
        let kit = self.kits.iter().find(|kit| kit.sku == asked.sku).cloned();
        let is_known = self.shelves.keys().any(|(_, sku)| *sku == asked.sku);
        let plain = || is_known.then(|| stock::Sku { sku: asked.sku.clone(), ..Default::default() });
        let sku = kit.or_else(plain).ok_or_else(|| Status::not_found("no such sku"))?;
        Ok(stock::GetSkuResponse { sku: Some(sku) })
    }

    fn positions(&self) -> stock::StreamPositionsResponse {
        let position = |((node, sku), shelf): (&(String, String), &Shelf)| stock::Position {
            node_id: node.clone(),
            sku: sku.clone(),
            on_hand: shelf.on_hand,
            reserved: shelf.reserved,
            atp: (shelf.on_hand - shelf.reserved).max(0),
            version: shelf.version,
            channel_claims: shelf.kept.clone(),
            update_time: Some(stamp(at(START))),
            ..Default::default()
        };
        let positions = self.shelves.iter().map(position).collect();
        stock::StreamPositionsResponse { positions, kits: self.kits.clone() }
    }
}
