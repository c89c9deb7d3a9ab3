//! Keeps the views in memory up to date: the stock by snapshot and events, nodes and capacity by reading what other
//! processes changed.

use std::time::Duration;

use bus::{Delivered, Subscription, Topic};
use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_event::Body;
use domain::id::{NodeId, Sku};
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::Fulfillment;
use crate::promise::stock_view::{Need, Position};
use crate::error::Error;
use crate::store;
use crate::wire;

/// The topics of the subscription that [`Fulfillment::follow_stock`] reads.
pub const STOCK_TOPICS: &[Topic] = &[Topic::Inventory];

/// Events taken in under one lock.
const EVENTS_AT_ONCE: usize = 256;
/// Rows read at once.
const PAGE: i64 = 1_000;
/// How far back a look for changes goes, for transactions that committed late and clocks that differ.
const OVERLAP: SignedDuration = SignedDuration::from_secs(10);
/// How long to wait before what failed once is tried again.
const PAUSE: Duration = Duration::from_millis(250);
/// How often that wait is doubled at most: four seconds are soon enough for who comes back, and few lines in the log.
const DOUBLED: u32 = 4;

/// How often what is over is forgotten.
const PRUNE_EVERY: Duration = Duration::from_mins(10);
/// Rows forgotten in one transaction.
const PRUNE_AT_ONCE: i64 = 1_000;

/// Up to which instant the changes of others were read, in microseconds.
#[derive(Debug, Clone, Copy, Default)]
struct Read {
    nodes: i64,
    slots: i64,
}

/// How often in a row something failed.
#[derive(Debug, Default)]
struct Failures(u32);

impl Failures {
    /// It failed once more. Answers how long to wait before the next try.
    fn another(&mut self) -> Duration {
        let wait = PAUSE * 2_u32.pow(self.0.min(DOUBLED));
        self.0 = self.0.saturating_add(1);
        wait
    }
}

impl Fulfillment {
    /// Follows the stock until `stop`: a snapshot, then events; a new snapshot when events were missed, and now and
    /// then for what has no events (kits).
    pub async fn follow_stock(&self, stop: CancellationToken, mut subscription: Subscription) {
        let follow = async {
            let mut failures = Failures::default();
            loop {
                match self.follow_from_snapshot(&mut subscription).await {
                    Ok(()) => failures = Failures::default(),
                    Err(error) => {
                        let wait = failures.another();
                        tracing::warn!(%error, errors = failures.0,
                            "the view of the stock can't be read, trying again");
                        self.clock.pause(wait).await;
                    }
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = follow => {}
        }
    }

    async fn follow_from_snapshot(&self, subscription: &mut Subscription) -> Result<(), Error> {
        subscription.ready().await?;
        self.load_stock().await?;
        let rebuild = self.clock.pause(Duration::from_secs(self.config.stock_view_rebuild_s));
        tokio::pin!(rebuild);
        loop {
            let first = tokio::select! {
                () = &mut rebuild => return Ok(()),
                event = subscription.next() => event,
            };
            let Ok(first) = first else { return Ok(()) };
            let mut positions: Vec<Position> = self.position_of(&first).into_iter().collect();
            while positions.len() < EVENTS_AT_ONCE {
                match subscription.next().now_or_never() {
                    Some(Ok(event)) => positions.extend(self.position_of(&event)),
                    Some(Err(_)) => return Ok(()),
                    None => break,
                }
            }
            self.atp.put(&positions);
        }
    }

    /// Reads all positions of inventory into the view.
    pub async fn load_stock(&self) -> Result<(), Error> {
        let peer = |status: tonic::Status| Error::Peer(Box::new(status));
        let request = stock::StreamPositionsRequest {};
        let mut chunks = self.inventory.clone().stream_positions(request).await.map_err(peer)?.into_inner();
        while let Some(chunk) = chunks.message().await.map_err(peer)? {
            let positions: Vec<Position> =
                chunk.positions.into_iter().filter_map(|position| self.position(position)).collect();
            self.atp.put(&positions);
            self.atp.put_kits(chunk.kits.into_iter().filter_map(kit));
        }
        self.atp.set_loaded();
        Ok(())
    }

    fn position_of(&self, event: &Delivered) -> Option<Position> {
        if event.aggregate_type != "position" {
            return None;
        }
        match stock::InventoryEvent::decode(event.payload.clone()).ok()?.body? {
            Body::PositionChanged(changed) => self.position(changed.position?),
            Body::ReservationHeld(_)
            | Body::ReservationConfirmed(_)
            | Body::ReservationRefused(_)
            | Body::ReservationExtended(_)
            | Body::ReservationSettled(_)
            | Body::ReservationReleased(_)
            | Body::ReservationExpired(_) => None,
        }
    }

    fn position(&self, position: stock::Position) -> Option<Position> {
        let changed = position.update_time.and_then(|at| wire::instant(at).ok());
        Some(Position {
            node: self.network.keys.of(&NodeId::new(position.node_id).ok()?),
            sku: Sku::new(position.sku).ok()?,
            atp: position.atp,
            version: position.version,
            changed: changed.map_or(0, jiff::Timestamp::as_microsecond),
        })
    }

    /// Asks inventory about a SKU that the view does not know. False: it does not exist.
    pub(crate) async fn ask_about(&self, sku: &Sku) -> Result<bool, Error> {
        let request = stock::GetSkuRequest { sku: sku.to_string() };
        match self.inventory.clone().get_sku(request).await {
            Ok(answer) => {
                match answer.into_inner().sku.and_then(kit) {
                    Some(kit) => self.atp.put_kits([kit]),
                    None => self.atp.put_known(sku.clone()),
                }
                Ok(true)
            }
            Err(status) if status.code() == Code::NotFound => Ok(false),
            Err(status) => Err(Error::Peer(Box::new(status))),
        }
    }

    /// Reads the whole network and the capacity ahead: at the start.
    pub(crate) async fn load_network(&self) -> Result<(), Error> {
        let mut after = String::new();
        loop {
            let mut tx = self.db.read().await?;
            let page = store::network::page(&mut tx, &after, 500).await?;
            tx.commit().await?;
            let Some(last) = page.last() else { break };
            after.clone_from(&last.node.node_id);
            self.learn_nodes(&page)?;
        }
        self.refresh(&mut Read::default()).await
    }

    /// Follows what other processes change of nodes and capacity, and forgets what is over, until `stop`.
    pub async fn follow_network(&self, stop: CancellationToken) {
        let mut read = Read::default();
        let mut pruned = self.clock.wall();
        let mut failures = Failures::default();
        let every = Duration::from_millis(self.config.refresh_ms.max(10));
        let mut wait = every;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(wait) => {}
            }
            wait = every;
            match self.refresh(&mut read).await {
                Ok(()) => failures = Failures::default(),
                Err(error) => {
                    wait = wait.max(failures.another());
                    tracing::warn!(%error, errors = failures.0, "nodes and capacity can't be read, trying again");
                }
            }
            if self.clock.wall().duration_since(pruned).unsigned_abs() >= PRUNE_EVERY {
                pruned = self.clock.wall();
                if let Err(error) = self.prune(self.clock.business()).await {
                    tracing::warn!(%error, "what is over can't be forgotten, trying again later");
                }
            }
        }
    }

    async fn refresh(&self, read: &mut Read) -> Result<(), Error> {
        let back = i64::try_from(OVERLAP.as_micros()).unwrap_or(0);
        let mut mark =
            store::network::Mark { updated_at: read.nodes.saturating_sub(back), node: String::new() };
        loop {
            let mut tx = self.db.read().await?;
            let changed = store::network::changed_after(&mut tx, &mark, PAGE).await?;
            let news: Vec<String> = changed
                .iter()
                .filter(|(mark, version)| self.network.is_news(&mark.node, *version))
                .map(|(mark, _)| mark.node.clone())
                .collect();
            let stored = store::network::many(&mut tx, &news).await?;
            tx.commit().await?;
            self.learn_nodes(&stored)?;
            let Some((last, _)) = changed.last() else { break };
            mark = last.clone();
            read.nodes = read.nodes.max(mark.updated_at);
        }
        let mut mark = (read.slots.saturating_sub(back), store::capacity::SlotKey::default());
        loop {
            let mut tx = self.db.read().await?;
            let changed = store::capacity::changed_after(&mut tx, &mark, PAGE).await?;
            tx.commit().await?;
            let Some((last, _)) = changed.last() else { return Ok(()) };
            mark = last.clone();
            read.slots = read.slots.max(mark.0);
            self.note_load(changed.into_iter().map(|((_, slot), used)| (slot, used)));
        }
    }

    /// Forgets promises that ended without an order, and slots, that are long over.
    async fn prune(&self, now: Timestamp) -> Result<(), Error> {
        let ended = now - SignedDuration::from_hours(24 * self.config.keep_ended_days);
        loop {
            let mut tx = self.db.begin().await?;
            let gone = store::promise::prune(&mut tx, ended, PRUNE_AT_ONCE).await?
                + store::capacity::prune(&mut tx, ended.as_microsecond(), PRUNE_AT_ONCE).await?;
            tx.commit().await?;
            if gone == 0 {
                return Ok(());
            }
        }
    }

    /// Reads what the slots of a node have taken: after one was fuller than the view knew.
    pub(crate) async fn refresh_node(&self, node: &NodeId) -> Result<(), Error> {
        let from = self.clock.business() - SignedDuration::from_hours(26);
        let mut tx = self.db.read().await?;
        let slots = store::capacity::of_node(&mut tx, node.as_str(), from.as_microsecond()).await?;
        tx.commit().await?;
        self.note_load(slots);
        Ok(())
    }
}

fn kit(sku: stock::Sku) -> Option<(Sku, Vec<Need>)> {
    if sku.kit_parts.is_empty() {
        return None;
    }
    let mut parts = Vec::with_capacity(sku.kit_parts.len());
    for part in sku.kit_parts {
        parts.push(Need { sku: Sku::new(part.sku).ok()?, quantity: part.quantity });
    }
    Some((Sku::new(sku.sku).ok()?, parts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_is_tried_every_few_seconds_and_at_once_when_it_failed_once() {
        let mut failures = Failures::default();
        let mut waited = Duration::ZERO;
        while waited < Duration::from_mins(1) {
            waited += failures.another();
        }
        assert_eq!(failures.0, 19, "tries in a minute");
        assert_eq!(failures.another(), Duration::from_secs(4));
        assert_eq!(Failures(u32::MAX).another(), Duration::from_secs(4));
        assert_eq!(Failures::default().another(), PAUSE);
    }
}
