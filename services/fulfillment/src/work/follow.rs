//! Beside the calls: wakes the watchers for what other processes committed, joins missed codes with theirs, and keeps the
//! feeds short.

use std::time::Duration;

use bus::{Delivered, Subscription};
use contract::fulfillment::v1 as pb;
use domain::id::NodeId;
use jiff::SignedDuration;
use prost::Message as _;
use tokio_util::sync::CancellationToken;

use crate::Fulfillment;

/// How often missed pickup codes are joined with those of other processes.
const JOIN: Duration = Duration::from_secs(1);

/// How often what is old is taken out of the feeds.
const PRUNE: SignedDuration = SignedDuration::from_mins(10);

impl Fulfillment {
    /// Wakes watchers for what other processes committed, until `stop`.
    pub async fn follow_work(&self, stop: CancellationToken, subscription: Subscription) {
        self.work.room.follow(stop, subscription, node_of).await;
    }

    /// Joins missed codes and keeps the feeds short, until `stop`.
    pub async fn keep_work(&self, stop: CancellationToken) {
        let mut pruned = self.clock.wall();
        loop {
            if let Err(error) = self.join_misses(self.clock.business()).await {
                tracing::warn!(%error, "cannot save missed pickup codes, retrying");
            }
            if self.clock.wall().duration_since(pruned) > PRUNE {
                pruned = self.clock.wall();
                if let Err(error) = self.prune_feed(self.clock.business()).await {
                    tracing::warn!(%error, "cannot prune the feeds, retrying later");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.clock.pause(JOIN) => {}
            }
        }
    }
}

/// The node whose work an event changed.
fn node_of(event: &Delivered) -> Option<NodeId> {
    let order = pb::FulfillmentEvent::decode(event.payload.clone()).ok()?.fulfillment_order?;
    NodeId::new(order.node_id).ok()
}
