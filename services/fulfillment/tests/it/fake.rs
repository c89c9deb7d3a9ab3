//! An inventory that is played.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard};

use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_service_server::InventoryService;
use futures_util::stream::BoxStream;
use server::Violation;
use tokio::sync::Notify;
use tonic::{Code, Request, Response, Status};

use crate::support::{START, at, stamp};

/// One position of the played inventory.
#[derive(Debug, Clone, Default)]
struct Shelf {
    on_hand: i64,
    reserved: i64,
    version: i64,
}

#[derive(Debug, Default)]
struct Books {
    shelves: BTreeMap<(String, String), Shelf>,
    kits: Vec<stock::Sku>,
    held: HashMap<String, stock::NewReservation>,
    gone: HashSet<String>,
    expires: HashMap<String, i64>,
    /// Answers that are lost: the call takes effect, and its caller hears nothing.
    lost: usize,
    /// Calls that are turned away at the door.
    shed: usize,
    /// How long each reservation was asked for, in seconds.
    ttl: HashMap<String, i64>,
    is_down: bool,
    /// The next extension is done, and answered when its test says so.
    extension: Option<Pause>,
    /// Streams of positions begin and never end.
    is_stuck: bool,
}

/// A call that waits: it says so, and goes on when the test says so.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pause {
    pub(crate) reached: Arc<Notify>,
    pub(crate) go_on: Arc<Notify>,
}

/// An inventory that is played: it reserves all or nothing, once per reservation id.
#[derive(Debug, Default)]
pub(crate) struct FakeInventory {
    books: Mutex<Books>,
}

impl FakeInventory {
    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap()
    }

    pub(crate) fn put(&self, node: &str, sku: &str, on_hand: i64) {
        let mut all = self.books();
        let position = all.shelves.entry((node.to_owned(), sku.to_owned())).or_default();
        position.on_hand = on_hand;
        position.version += 1;
    }

    pub(crate) fn put_kit(&self, sku: &str, parts: &[(&str, i64)]) {
        let kit_parts = parts
            .iter()
            .map(|(sku, quantity)| stock::KitPart { sku: (*sku).to_owned(), quantity: *quantity })
            .collect();
        self.books().kits.push(stock::Sku { sku: sku.to_owned(), kit_parts, ..Default::default() });
    }

    pub(crate) fn lose_answers(&self, count: usize) {
        self.books().lost = count;
    }

    /// The next calls to reserve are turned away, after those whose answers are lost.
    pub(crate) fn shed(&self, count: usize) {
        self.books().shed = count;
    }

    /// How long a reservation was asked for, in seconds.
    pub(crate) fn ttl(&self, reservation: &str) -> Option<i64> {
        self.books().ttl.get(reservation).copied()
    }

    pub(crate) fn pause_extension(&self) -> Pause {
        self.books().extension.insert(Pause::default()).clone()
    }

    pub(crate) fn get_stuck(&self) {
        self.books().is_stuck = true;
    }

    pub(crate) fn go_down(&self, is_down: bool) {
        self.books().is_down = is_down;
    }

    /// How many reservations hold stock.
    pub(crate) fn held(&self) -> usize {
        self.books().held.len()
    }

    /// Units reserved of a SKU at a node.
    pub(crate) fn reserved(&self, node: &str, sku: &str) -> i64 {
        self.books().shelves.get(&(node.to_owned(), sku.to_owned())).map_or(0, |shelf| shelf.reserved)
    }

    /// When a reservation ends by itself, in seconds since 1970.
    pub(crate) fn expires(&self, reservation: &str) -> Option<i64> {
        self.books().expires.get(reservation).copied()
    }
}

fn reservations(ids: &[String], state: stock::ReservationState) -> Vec<stock::Reservation> {
    let one = |id: &String| stock::Reservation {
        reservation_id: id.clone(),
        state: state.into(),
        ..Default::default()
    };
    ids.iter().map(one).collect()
}

impl Books {
    fn up(&self) -> Result<(), Status> {
        if self.is_down { Err(Status::unavailable("down")) } else { Ok(()) }
    }

    fn reserve(&mut self, asked: &stock::ReserveRequest) -> Result<(), Status> {
        let refused = |reason, message: &str, facts: Vec<(String, String)>| {
            let reason = server::Reason {
                name: reason,
                code: Code::FailedPrecondition,
                ..server::reason::CALLER_NOT_ALLOWED
            };
            server::status(reason, "inventory.entrepot", message.to_owned(), facts)
        };
        if asked.reservations.iter().any(|claim| self.gone.contains(&claim.reservation_id)) {
            return Err(refused("RESERVATION_RELEASED", "released before", Vec::new()));
        }
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
        Ok(())
    }
}

/// Calls that no test makes.
macro_rules! unused_calls {
    ($($name:ident($request:ident) -> $response:ident;)*) => { $(
        fn $name<'s: 'f, 'f>(
            &'s self,
            _: Request<stock::$request>,
        ) -> std::pin::Pin<Box<dyn Future<Output = Result<Response<stock::$response>, Status>> + Send + 'f>>
        where
            Self: 'f,
        {
            Box::pin(async { Err(Status::unimplemented(stringify!($name))) })
        }
    )* };
}

#[tonic::async_trait]
impl InventoryService for FakeInventory {
    type ImportStockStream = BoxStream<'static, Result<stock::ImportStockResponse, Status>>;
    type StreamPositionsStream = BoxStream<'static, Result<stock::StreamPositionsResponse, Status>>;

    async fn reserve(
        &self,
        request: Request<stock::ReserveRequest>,
    ) -> Result<Response<stock::ReserveResponse>, Status> {
        let asked = request.into_inner();
        tokio::task::yield_now().await;
        let mut books = self.books();
        books.up()?;
        if books.shed > 0 && books.lost == 0 {
            books.shed -= 1;
            return Err(Status::resource_exhausted("too many calls"));
        }
        let ttl = asked.ttl.map_or(0, |ttl| ttl.seconds);
        if ttl > 7 * 24 * 3_600 {
            return Err(Status::invalid_argument("ttl: must be at most 7 days"));
        }
        books.reserve(&asked)?;
        books.ttl.extend(asked.reservations.iter().map(|claim| (claim.reservation_id.clone(), ttl)));
        if books.lost > 0 {
            books.lost -= 1;
            return Err(Status::unavailable("the answer was lost"));
        }
        let ids: Vec<String> = asked.reservations.into_iter().map(|claim| claim.reservation_id).collect();
        let reservations = reservations(&ids, stock::ReservationState::Held);
        Ok(Response::new(stock::ReserveResponse { reservations }))
    }

    async fn release_reservation(
        &self,
        request: Request<stock::ReleaseReservationRequest>,
    ) -> Result<Response<stock::ReleaseReservationResponse>, Status> {
        let ids = request.into_inner().reservation_ids;
        let mut books = self.books();
        books.up()?;
        for id in &ids {
            let claim = books.held.remove(id).unwrap_or_default();
            for line in claim.lines {
                if let Some(shelf) = books.shelves.get_mut(&(claim.node_id.clone(), line.sku)) {
                    shelf.reserved -= line.quantity;
                }
            }
            books.gone.insert(id.clone());
        }
        let reservations = reservations(&ids, stock::ReservationState::Released);
        Ok(Response::new(stock::ReleaseReservationResponse { reservations }))
    }

    async fn extend_reservation(
        &self,
        request: Request<stock::ExtendReservationRequest>,
    ) -> Result<Response<stock::ExtendReservationResponse>, Status> {
        let asked = request.into_inner();
        let pause = {
            let mut books = self.books();
            books.up()?;
            if !asked.reservation_ids.iter().all(|id| books.held.contains_key(id)) {
                return Err(Status::failed_precondition("gone"));
            }
            let until = asked.expire_time.map_or(0, |until| until.seconds);
            books.expires.extend(asked.reservation_ids.iter().map(|id| (id.clone(), until)));
            books.extension.take()
        };
        if let Some(pause) = pause {
            pause.reached.notify_one();
            pause.go_on.notified().await;
        }
        let reservations = reservations(&asked.reservation_ids, stock::ReservationState::Held);
        Ok(Response::new(stock::ExtendReservationResponse { reservations }))
    }

    async fn get_sku(
        &self,
        request: Request<stock::GetSkuRequest>,
    ) -> Result<Response<stock::GetSkuResponse>, Status> {
        let code = request.into_inner().sku;
        let books = self.books();
        books.up()?;
        let plain = stock::Sku { sku: code.clone(), ..Default::default() };
        let known = books.shelves.keys().any(|(_, sku)| *sku == code).then_some(plain);
        let sku = books.kits.iter().find(|kit| kit.sku == code).cloned().or(known);
        sku.map(|sku| Response::new(stock::GetSkuResponse { sku: Some(sku) }))
            .ok_or_else(|| Status::not_found("no such sku"))
    }

    async fn stream_positions(
        &self,
        _: Request<stock::StreamPositionsRequest>,
    ) -> Result<Response<Self::StreamPositionsStream>, Status> {
        let books = self.books();
        books.up()?;
        if books.is_stuck {
            return Ok(Response::new(Box::pin(futures_util::stream::pending())));
        }
        let positions = books
            .shelves
            .iter()
            .map(|((node, sku), shelf)| stock::Position {
                node_id: node.clone(),
                sku: sku.clone(),
                on_hand: shelf.on_hand,
                reserved: shelf.reserved,
                atp: (shelf.on_hand - shelf.reserved).max(0),
                version: shelf.version,
                update_time: Some(stamp(at(START))),
                ..Default::default()
            })
            .collect();
        let all = stock::StreamPositionsResponse { positions, kits: books.kits.clone() };
        Ok(Response::new(Box::pin(futures_util::stream::iter([Ok(all)]))))
    }

    async fn import_stock(
        &self,
        _: Request<tonic::Streaming<stock::ImportStockRequest>>,
    ) -> Result<Response<Self::ImportStockStream>, Status> {
        Err(Status::unimplemented("import_stock"))
    }

    unused_calls! {
        put_skus(PutSkusRequest) -> PutSkusResponse;
        list_skus(ListSkusRequest) -> ListSkusResponse;
        apply_snapshot(ApplySnapshotRequest) -> ApplySnapshotResponse;
        apply_deltas(ApplyDeltasRequest) -> ApplyDeltasResponse;
        close_snapshot(CloseSnapshotRequest) -> CloseSnapshotResponse;
        adjust_stock(AdjustStockRequest) -> AdjustStockResponse;
        set_safety_stock(SetSafetyStockRequest) -> SetSafetyStockResponse;
        get_reservation(GetReservationRequest) -> GetReservationResponse;
        get_availability(GetAvailabilityRequest) -> GetAvailabilityResponse;
        batch_get_availability(BatchGetAvailabilityRequest) -> BatchGetAvailabilityResponse;
        list_availability(ListAvailabilityRequest) -> ListAvailabilityResponse;
        list_movements(ListMovementsRequest) -> ListMovementsResponse;
        audit(AuditRequest) -> AuditResponse;
    }
}
