//! Keeps the view of the stock up to date, by snapshot and events.

use std::time::Duration;

use bus::{Delivered, Subscription, Topic};
use contract::inventory::v1 as stock;
use contract::inventory::v1::inventory_event::Body;
use domain::id::{NodeId, Sku};
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
