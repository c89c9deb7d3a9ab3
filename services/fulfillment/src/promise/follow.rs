//! Keeps the view of the stock up to date, by snapshot and events.

use std::sync::Arc;
use std::time::Duration;

use bus::{Delivered, Missed, Subscription, Topic};
use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_event::Body;
use domain::id::{NodeId, Sku};
use domain::stock::pool::Pool;
use futures_util::FutureExt as _;
use prost::Message as _;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::stock_view::{Need, Position};
use crate::Fulfillment;
use crate::backoff::Failures;
use crate::error::Error;
use crate::wire;

/// The topics of the subscription that [`Fulfillment::follow_stock`] reads.
pub const STOCK_TOPICS: &[Topic] = &[Topic::Inventory];

/// Events taken in under one lock.
const EVENTS_AT_ONCE: usize = 256;

/// How long inventory may be silent in the middle of a snapshot.
const SILENCE: Duration = Duration::from_secs(30);

impl Fulfillment {
    /// Follows the stock until `stop`: a snapshot and events at the same time, the newest version of a position wins; a new
    /// snapshot when events were missed, and now and then for what has no events (kits). While a snapshot is read, or cannot be
    /// read, events are applied and the view stays as good as they are.
    pub async fn follow_stock(&self, stop: CancellationToken, mut subscription: Subscription) {
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.keep_view(&mut subscription) => {}
        }
    }

    async fn keep_view(&self, subscription: &mut Subscription) {
        loop {
            // A snapshot that begins before the subscription is there may miss what happens in between.
            let mut failures = Failures::default();
            while let Err(error) = subscription.ready().await {
                let wait = failures.another();
                tracing::warn!(%error, errors = failures.0, "the stock events cannot be followed, trying again");
                self.clock.pause(wait).await;
            }
            let rebuild = self.rebuild();
            tokio::pin!(rebuild);
            loop {
                let first = tokio::select! {
                    () = &mut rebuild => continue,
                    event = subscription.next() => event,
                };
                if !self.apply(first, subscription) {
                    break;
                }
            }
        }
    }

    /// Reads snapshots, each a while after the last one, without end.
    async fn rebuild(&self) {
        let mut failures = Failures::default();
        loop {
            let wait = match self.load_stock().await {
                Ok(()) => {
                    failures = Failures::default();
                    Duration::from_secs(self.config.stock_view_rebuild_s)
                }
                Err(error) => {
                    let wait = failures.another();
                    tracing::warn!(%error, errors = failures.0, "the stock cannot be read, trying again");
                    wait
                }
            };
            self.clock.pause(wait).await;
        }
    }

    /// Applies an event and those that follow at once. False: events were missed.
    fn apply(&self, first: Result<Arc<Delivered>, Missed>, subscription: &mut Subscription) -> bool {
        let mut positions: Vec<Position> = Vec::new();
        let mut next = Some(first);
        let mut is_whole = true;
        while let Some(event) = next {
            let Ok(event) = event else {
                is_whole = false;
                break;
            };
            positions.extend(self.position_of(&event));
            next = if positions.len() < EVENTS_AT_ONCE { subscription.next().now_or_never() } else { None };
        }
        self.atp.put(&positions);
        is_whole
    }

    /// Reads all positions of inventory into the view.
    pub async fn load_stock(&self) -> Result<(), Error> {
        let peer = |status: tonic::Status| Error::Peer(Box::new(status));
        let silent = |_| peer(tonic::Status::unavailable("inventory stopped in the middle of its positions"));
        let begun = self.clock.wall();
        let request = stock::StreamPositionsRequest {};
        let mut inventory = self.inventory.clone();
        let asked = tokio::time::timeout(SILENCE, inventory.stream_positions(request));
        let mut chunks = asked.await.map_err(silent)?.map_err(peer)?.into_inner();
        loop {
            // a sign of life without positions does not count: who sends nothing else is stuck
            let next = async {
                loop {
                    match chunks.message().await? {
                        Some(chunk) if chunk.positions.is_empty() && chunk.kits.is_empty() => {}
                        next => return Ok(next),
                    }
                }
            };
            let next = tokio::time::timeout(SILENCE, next).await.map_err(silent)?;
            let Some(chunk) = next.map_err(peer)? else { break };
            let positions: Vec<Position> =
                chunk.positions.into_iter().filter_map(|position| self.position(position)).collect();
            self.atp.put(&positions);
            self.atp.put_kits(chunk.kits.into_iter().filter_map(kit));
        }
        self.atp.set_loaded(begun);
        Ok(())
    }

    /// How old the last whole snapshot of the stock is, for people; `Err`: there is none yet.
    pub fn stock_view(&self) -> Result<String, String> {
        let Some(loaded) = self.atp.loaded() else { return Err("not read yet".to_owned()) };
        let age = self.clock.wall().duration_since(loaded).as_secs().max(0);
        Ok(format!("read {age} s ago, events applied since"))
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
            | Body::ReservationExpired(_)
            | Body::ReservationGivenUp(_)
            | Body::ReservationDoubtful(_) => None,
        }
    }

    fn position(&self, position: stock::Position) -> Option<Position> {
        let changed = position.update_time.and_then(|at| wire::instant(at).ok());
        Some(Position {
            node: self.network.keys.of(&NodeId::new(position.node_id).ok()?),
            sku: Sku::new(position.sku).ok()?,
            atp: position.atp,
            pools: position.channel_claims.into_iter().map(pool).collect(),
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
}

fn pool(claim: stock::ChannelClaim) -> Pool {
    Pool { channel: claim.channel.into(), kept: claim.kept, claimed: claim.reserved }
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
