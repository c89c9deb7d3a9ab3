//! Orders were released: their work is offered to the nodes, and stands on their streams right after the commit.

use std::collections::BTreeSet;
use std::sync::Arc;

use db::Tx;
use domain::fulfillment::{Buckets, Clocks, Dues, Line, Marks, Order, Refusal, accept};
use domain::id::FulfillmentId;
use domain::network::Node;
use jiff::Timestamp;

use super::change::{By, Change};
use super::command::{NewDue, Paying, Released, ReleasedLine};
use crate::network::index::Timed;
use crate::store::capacity::Changes;
use crate::store::claim::{self, Loss};
use crate::store::work::Stored;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// Offers the work of orders that were released, once per leg. Where inventory has said meanwhile that the
    /// claim is lost, or where the order never had one, it ends at once: so the order hears of it like of any other end.
    /// A part that was lost is given up, and the rest is offered. Work that is there already when its order is unblocked need not wait for a payment any
    /// more. Each order comes with who caused it.
    pub(crate) async fn offer(
        &self,
        tx: &mut Tx,
        released: &[(Released, By)],
        slots: &mut Changes,
        now: Timestamp,
    ) -> Result<(), Error> {
        let legs: BTreeSet<FulfillmentId> = released.iter().map(|(released, _)| released.id).collect();
        let mut claims = claim::meet(tx, legs.into_iter()).await?;
        let (mut changes, mut again) = (Vec::with_capacity(released.len()), Vec::new());
        let book = self.policies.book();
        for (released, by) in released {
            let claim = claims.remove(&released.id);
            let Some(claim) = claim.filter(|claim| !claim.is_offered) else {
                if released.is_unblocked {
                    again.push((released, by));
                }
                continue;
            };
            let known = self.network.timed(&released.node, now);
            let site = known.as_ref().map(|known| Arc::clone(&known.node));
            let clocks = self.clocks(&book, &released.node, &released.channel, released.method, now);
            let mut change = Change::new(planned(released, clocks, site, now), by, now);
            let openings = known.as_ref().map(Timed::openings);
            let clock = accept::clock(released.method, &change.stored.order.clocks, openings, now);
            change.apply(|order, now| order.offer(clock.due, clock.at_risk, now))?;
            let never_had = || released.is_another_orders.then(|| Loss::whole(String::new()));
            if let Some(Loss { sku, lines }) = claim.lost.or_else(never_had) {
                match change.apply(|order, now| order.stock_lost(&sku, lines.as_deref(), now)) {
                    // Nothing of those lines is wanted any more.
                    Ok(()) | Err(Refusal::Nothing { .. }) => {}
                    Err(refusal) => return Err(refusal.into()),
                }
            }
            changes.push(change);
        }
        self.save_new(tx, &changes, slots).await?;
        for change in changes {
            self.work.room.pending([change.stored.order.node]);
        }
        for (released, by) in again {
            let paying = Paying { order: released.order, leg: released.id, what: NewDue::PaidAgain };
            let change = Box::pin(self.due_changed(tx, &paying, by, slots, now));
            bus::trace::scope(by.trace.clone(), change).await?;
        }
        Ok(())
    }
}

/// One fulfillment order per leg, with its id.
fn planned(released: &Released, clocks: Clocks, site: Option<Arc<Node>>, now: Timestamp) -> Stored {
    let line = |line: &ReleasedLine| Line {
        line: line.line,
        sku: line.sku.clone(),
        name: line.name.clone(),
        quantity: line.quantity,
        buckets: Buckets::all_to_pick(line.quantity),
        due_minor: line.due_minor,
    };
    Stored {
        order: Order {
            id: released.id,
            order: released.order,
            token: released.token,
            node: released.node.clone(),
            site,
            method: released.method,
            promised: released.promised,
            lines: released.lines.iter().map(line).collect(),
            clocks,
            running: Vec::new(),
            marks: Marks::default(),
            dues: Dues { at_handover: released.at_handover, is_payment_lost: false },
            version: 0,
        },
        decision: released.decision,
        channel: released.channel.clone(),
        channel_order_id: released.channel_order_id.clone(),
        origin: released.origin.clone(),
        wishes: released.wishes.clone(),
        holder: released.holder.clone(),
        updated: now,
        updated_by: String::new(),
    }
}
