//! Reads: what can be promised, what was claimed, and how it came to be so.

use std::collections::{BTreeSet, HashMap};

use contract::inventory::v1 as pb;
use db::Tx;
use domain::id::{NodeId, Sku};
use domain::policy::Book;
use domain::stock::Key;
use domain::stock::kit::{Kit, MAX_PARTS};
use futures_util::stream::{self, BoxStream, StreamExt as _};
use jiff::Timestamp;
use service::{Fields, token};
use tonic::Status;

use crate::Inventory;
use crate::error::Error;
use crate::store::positions::Slot;
use crate::store::{movements, positions, reservations, skus};
use crate::{rules, wire};

/// The most pairs of one question, and positions of one chunk.
const MAX_PAIRS: usize = 1_000;
/// The most positions that one question reads, with the parts of its kits.
const MAX_POSITIONS: usize = 5_000;
/// The most positions that a page about a kit reads: a kit of many parts has fewer nodes on a page.
const MAX_READ: i64 = 2_000;

impl Inventory {
    pub(crate) async fn get_sku(&self, code: String) -> Result<pb::Sku, Error> {
        let sku = Sku::new(code).map_err(|error| Error::field("sku", error.to_string()))?;
        let mut tx = self.db.read().await?;
        let found = skus::read(&mut tx, std::slice::from_ref(&sku), false).await?.remove(&sku);
        found.map(wire::sku).ok_or(Error::SkuNotFound(sku))
    }

    pub(crate) async fn list_skus(
        &self,
        message: &pb::ListSkusRequest,
    ) -> Result<pb::ListSkusResponse, Error> {
        let size = page_size(message.page_size)?;
        let after = page_after("skus", &message.page_token)?;
        let mut tx = self.db.read().await?;
        let (items, more) = skus::page(&mut tx, &after, size).await?;
        let next = items.last().filter(|_| more).map(|item| token::seal("skus", item.sku.as_str()));
        let skus = items.into_iter().map(wire::sku).collect();
        Ok(pb::ListSkusResponse { skus, next_page_token: next.unwrap_or_default() })
    }

    pub(crate) async fn get_reservation(&self, id: &str) -> Result<pb::Reservation, Error> {
        let id = wire::reservation_key(id)?;
        let mut tx = self.db.read().await?;
        let found = reservations::read(&mut tx, &[id]).await?;
        found.get(&id).map(wire::reservation).ok_or(Error::ReservationNotFound(id))
    }

    pub(crate) async fn availability(&self, node: String, sku: String) -> Result<pb::Availability, Error> {
        let mut fields = Fields::default();
        let key = wire::key(&mut fields, "", node, sku);
        fields.done()?;
        let key = key.ok_or_else(|| Error::field("node_id", "is required"))?;
        let now = self.clock.business();
        let mut tx = self.db.read().await?;
        let book = self.policies.book();
        if let Some(mut slot) = positions::get(&mut tx, &key).await? {
            rules::apply(&mut tx, &book, std::slice::from_mut(&mut slot), now).await?;
            return Ok(of_slot(&slot, now));
        }
        let kinds = skus::kinds(&mut tx, [&key.sku]).await?;
        match kinds.get(&key.sku) {
            None => Err(Error::SkuNotFound(key.sku)),
            Some(false) => Ok(of_nothing(&key, now)),
            Some(true) => {
                let found = availabilities(&mut tx, &book, std::slice::from_ref(&key), now).await?;
                found.into_iter().next().ok_or(Error::SkuNotFound(key.sku))
            }
        }
    }

    pub(crate) async fn batch_availability(
        &self,
        pairs: Vec<pb::NodeSku>,
    ) -> Result<Vec<pb::Availability>, Error> {
        let mut fields = Fields::default();
        fields.count("pairs", pairs.len(), MAX_PAIRS);
        let mut keys = Vec::with_capacity(pairs.len().min(MAX_PAIRS));
        for (index, pair) in pairs.into_iter().take(MAX_PAIRS).enumerate() {
            keys.extend(wire::key(&mut fields, format_args!("pairs[{index}]."), pair.node_id, pair.sku));
        }
        fields.done()?;
        let mut tx = self.db.read().await?;
        availabilities(&mut tx, &self.policies.book(), &keys, self.clock.business()).await
    }

    pub(crate) async fn list_availability(
        &self,
        message: pb::ListAvailabilityRequest,
    ) -> Result<pb::ListAvailabilityResponse, Error> {
        let size = page_size(message.page_size)?;
        let sku = Sku::new(message.sku).map_err(|error| Error::field("sku", error.to_string()))?;
        let book = self.policies.book();
        let query = format!("availability\n{sku}");
        let after = page_after(&query, &message.page_token)?;
        let now = self.clock.business();
        let mut tx = self.db.read().await?;
        let is_kit = skus::kinds(&mut tx, [&sku]).await?.remove(&sku);
        let (availabilities, more): (Vec<pb::Availability>, bool) = match is_kit {
            None => return Err(Error::SkuNotFound(sku)),
            Some(false) => {
                let mut slots = positions::of_sku(&mut tx, &sku, &after, size + 1).await?;
                let more = cut(&mut slots, size);
                rules::apply(&mut tx, &book, &mut slots, now).await?;
                (slots.iter().map(|slot| of_slot(slot, now)).collect(), more)
            }
            Some(true) => list_kit(&mut tx, &book, &sku, (&after, size), now).await?,
        };
        let next = availabilities.last().filter(|_| more).map(|last| token::seal(&query, &last.node_id));
        Ok(pb::ListAvailabilityResponse { availabilities, next_page_token: next.unwrap_or_default() })
    }

    pub(crate) async fn list_movements(
        &self,
        message: pb::ListMovementsRequest,
    ) -> Result<pb::ListMovementsResponse, Error> {
        let size = page_size(message.page_size)?;
        let mut fields = Fields::default();
        let key = wire::key(&mut fields, "", message.node_id, message.sku);
        fields.done()?;
        let key = key.ok_or_else(|| Error::field("node_id", "is required"))?;
        let query = format!("movements\n{}\n{}", key.node, key.sku);
        let before = match page_after(&query, &message.page_token)?.as_str() {
            "" => i64::MAX,
            number => number.parse().map_err(|_| token::strange_page())?,
        };
        let mut tx = self.db.read().await?;
        let mut rows = movements::page(&mut tx, &key, before, size + 1).await?;
        let more = cut(&mut rows, size);
        let next = rows.last().filter(|_| more).map(|last| token::seal(&query, last.number.to_string()));
        let movements = rows.into_iter().map(|row| wire::movement(&key, row)).collect();
        Ok(pb::ListMovementsResponse { movements, next_page_token: next.unwrap_or_default() })
    }

    /// Every position in chunks, after all kits in chunks. Each chunk is as new as its reading; versions say what is
    /// newer.
    pub(crate) fn stream_positions(&self) -> BoxStream<'static, Result<pb::StreamPositionsResponse, Status>> {
        let start = Some(Place::Kits(String::new()));
        let with = (self.db.clone(), self.clock.clone(), self.policies.clone());
        let chunks = stream::try_unfold((with, start), |(with, place)| async move {
            let Some(place) = place else { return Ok(None) };
            let (db, clock, policies) = &with;
            let mut tx = db.read().await?;
            let (chunk, next) = chunk(&mut tx, &policies.book(), place, clock.business()).await?;
            drop(tx);
            Ok::<_, Error>(Some((chunk, (with, next))))
        });
        chunks.map(|chunk| chunk.map_err(Status::from)).boxed()
    }
}

/// Where a stream of positions stands: what comes after this.
enum Place {
    Kits(String),
    Positions(String, String),
}

async fn chunk(
    tx: &mut Tx,
    book: &Book,
    place: Place,
    now: Timestamp,
) -> Result<(pb::StreamPositionsResponse, Option<Place>), Error> {
    let (node, sku) = match place {
        Place::Kits(after) => {
            let items = skus::kits_after(tx, &after, i64::try_from(skus::MAX_KITS).unwrap_or(1)).await?;
            let kits: Vec<pb::Sku> = items.into_iter().map(wire::sku).collect();
            if let Some(last) = kits.last() {
                let next = Place::Kits(last.sku.clone());
                return Ok((pb::StreamPositionsResponse { positions: Vec::new(), kits }, Some(next)));
            }
            (String::new(), String::new())
        }
        Place::Positions(node, sku) => (node, sku),
    };
    let mut slots = positions::after(tx, (&node, &sku), i64::try_from(MAX_PAIRS).unwrap_or(1)).await?;
    rules::apply(tx, book, &mut slots, now).await?;
    let last = slots.last().filter(|_| slots.len() == MAX_PAIRS);
    let next = last.map(|last| Place::Positions(last.key.node.to_string(), last.key.sku.to_string()));
    let positions = slots.iter().map(wire::position).collect();
    Ok((pb::StreamPositionsResponse { positions, kits: Vec::new() }, next))
}

/// How many entries a page has.
fn page_size(asked: i32) -> Result<i64, Error> {
    let mut fields = Fields::default();
    let size = fields.page_size(asked, 100, 500);
    fields.done()?;
    Ok(size)
}

/// The entry after which the page begins; empty for the first page.
fn page_after(query: &str, page_token: &str) -> Result<String, Error> {
    let after = token::page(query, page_token)?.unwrap_or_default();
    Ok(String::from_utf8(after).map_err(|_| token::strange_page())?)
}

/// Cuts a list that was asked for with one entry more than a page; says whether there was one.
fn cut<T>(list: &mut Vec<T>, size: i64) -> bool {
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let more = list.len() > size;
    list.truncate(size);
    more
}

/// What can be promised of a kit at the nodes after `after`, and whether there may be more.
async fn list_kit(
    tx: &mut Tx,
    book: &Book,
    sku: &Sku,
    (after, size): (&str, i64),
    now: Timestamp,
) -> Result<(Vec<pb::Availability>, bool), Error> {
    let Some(kit) = skus::kits(tx, [sku]).await?.remove(sku) else { return Ok((Vec::new(), false)) };
    let parts: Vec<&Sku> = kit.parts().iter().map(|part| &part.sku).collect();
    let size = size.min(MAX_READ / i64::try_from(parts.len().max(1)).unwrap_or(1));
    let (mut nodes, ended) = positions::nodes_of_parts(tx, &parts, after, size + 1).await?;
    let more = cut(&mut nodes, size) || ended;
    let keys: Vec<Key> = nodes.into_iter().map(|node| Key { node, sku: sku.clone() }).collect();
    Ok((availabilities(tx, book, &keys, now).await?, more))
}

/// What can be promised of each of `keys`, kits by their parts; 0 where nothing is known.
async fn availabilities(
    tx: &mut Tx,
    book: &Book,
    keys: &[Key],
    now: Timestamp,
) -> Result<Vec<pb::Availability>, Error> {
    let codes: Vec<&Sku> = keys.iter().map(|key| &key.sku).collect::<BTreeSet<_>>().into_iter().collect();
    let mut kits: HashMap<Sku, Kit> = HashMap::new();
    for codes in codes.chunks(MAX_POSITIONS / MAX_PARTS) {
        kits.extend(skus::kits(tx, codes.iter().copied()).await?);
        fits(kits.values().map(|kit| kit.parts().len()).sum())?;
    }
    let mut wanted: BTreeSet<Key> = BTreeSet::new();
    for key in keys {
        match kits.get(&key.sku) {
            None => drop(wanted.insert(key.clone())),
            Some(kit) => wanted.extend(parts(kit, &key.node)),
        }
        fits(wanted.len())?;
    }
    let wanted: Vec<Key> = wanted.into_iter().collect();
    let mut found = positions::read(tx, &wanted).await?;
    rules::apply(tx, book, &mut found, now).await?;
    let slots: HashMap<&Key, &Slot> = found.iter().map(|slot| (&slot.key, slot)).collect();
    let one = |key: &Key| match kits.get(&key.sku) {
        Some(kit) => of_kit(kit, key, &slots, now),
        None => slots.get(key).map_or_else(|| of_nothing(key, now), |slot| of_slot(slot, now)),
    };
    Ok(keys.iter().map(one).collect())
}

/// Refuses what would read too many rows in one transaction.
fn fits(positions: usize) -> Result<(), Error> {
    if positions <= MAX_POSITIONS {
        return Ok(());
    }
    let text =
        format!("with the parts of kits these are more than {MAX_POSITIONS} positions; send fewer pairs");
    Err(Error::field("pairs", text))
}

fn parts<'a>(kit: &'a Kit, node: &'a NodeId) -> impl Iterator<Item = Key> + 'a {
    kit.parts().iter().map(|part| Key { node: node.clone(), sku: part.sku.clone() })
}

fn of_slot(slot: &Slot, now: Timestamp) -> pb::Availability {
    pb::Availability {
        node_id: slot.key.node.to_string(),
        sku: slot.key.sku.to_string(),
        atp: slot.position.atp(),
        read_time: Some(wire::timestamp(now)),
        update_time: Some(wire::timestamp(slot.updated_at)),
        position: Some(wire::position(slot)),
    }
}

fn of_nothing(key: &Key, now: Timestamp) -> pb::Availability {
    pb::Availability {
        node_id: key.node.to_string(),
        sku: key.sku.to_string(),
        atp: 0,
        read_time: Some(wire::timestamp(now)),
        update_time: None,
        position: None,
    }
}

fn of_kit(kit: &Kit, key: &Key, slots: &HashMap<&Key, &Slot>, now: Timestamp) -> pb::Availability {
    let slot = |sku: &Sku| slots.get(&Key { node: key.node.clone(), sku: sku.clone() });
    let newest = kit.parts().iter().filter_map(|part| slot(&part.sku)).map(|slot| slot.updated_at).max();
    pb::Availability {
        atp: kit.available(|sku| slot(sku).map_or(0, |slot| slot.position.atp())),
        update_time: newest.map(wire::timestamp),
        ..of_nothing(key, now)
    }
}
