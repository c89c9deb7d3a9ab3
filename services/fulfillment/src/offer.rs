//! An order was released: its work is offered to the node, and stands on the node's stream right after the commit.

use db::Tx;
use domain::fulfillment::{Buckets, Line, Marks, Order};
use domain::id::{FulfillmentId, derived};
use jiff::Timestamp;

use crate::confirm::Released;
use crate::store::work::Stored;
use crate::store::{feed, work as store};
use crate::work::Change;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Offers the work, once per promise. When inventory has said meanwhile that the claim is lost, it ends at once.
    pub(crate) async fn offer(
        &self,
        tx: &mut Tx,
        released: &Released,
        actor: &str,
        now: Timestamp,
    ) -> Result<(), Error> {
        let claim = store::claim(tx, released.token).await?;
        if claim.is_offered {
            return Ok(());
        }
        let feed = feed::draw(tx, &released.node).await?;
        let mut change = Change::new(feed, planned(released, now), actor, now);
        let (accept_due, at_risk) = self.accept_clock(&released.node, released.method, now);
        change.apply(|order, now| order.offer(accept_due, at_risk, now))?;
        if let Some(sku) = claim.lost {
            change.apply(|order, now| order.stock_lost(&sku, now))?;
            self.free_capacity(tx, released.token).await?;
        }
        self.save(tx, &mut change).await?;
        self.work.hub.hold(change.feed.node);
        Ok(())
    }
}

/// One fulfilment order per promise: its id follows from the token.
fn planned(released: &Released, now: Timestamp) -> Stored {
    let line = |line: &crate::confirm::ReleasedLine| Line {
        line: line.line,
        sku: line.sku.clone(),
        name: line.name.clone(),
        quantity: line.quantity,
        buckets: Buckets::all_to_pick(line.quantity),
    };
    Stored {
        order: Order {
            id: FulfillmentId::new(derived("fulfillment", &released.token.to_string())),
            order: released.order,
            token: released.token,
            node: released.node.clone(),
            method: released.method,
            promised: released.promised,
            lines: released.lines.iter().map(line).collect(),
            marks: Marks::default(),
            version: 0,
        },
        decision: released.decision,
        channel: released.channel.clone(),
        channel_order_id: released.channel_order_id.clone(),
        updated: now,
    }
}
