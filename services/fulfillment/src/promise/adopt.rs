//! Orders that exist take the promises that they were placed on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use db::Tx;
use domain::id::{OrderId, PromiseToken};
use domain::promise::token::{Adopted, State};

use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::capacity::Changes;
use crate::store::promise::Stored;
use crate::tasks::Kind;
use crate::work::change::By;
use crate::work::command::Released;

impl Fulfillment {
    /// Orders that exist were placed on these promises; an order that exists goes before one that a call named
    /// and that has not come. Where a promise had ended, a task may be about to release its stock: the task is deleted,
    /// since that stock is now the business of the order and inventory.
    pub(crate) async fn adopt(
        &self,
        tx: &mut Tx,
        released: Vec<(Released, By)>,
        slots: &mut Changes,
    ) -> Result<Vec<(Released, By)>, Error> {
        let tokens: BTreeSet<PromiseToken> = released.iter().map(|(released, _)| released.token).collect();
        let locked = store::promise::lock_many(tx, tokens.into_iter()).await?;
        let mut promises: BTreeMap<PromiseToken, Stored> =
            locked.into_iter().map(|stored| (stored.token, stored)).collect();
        let mut changed: BTreeSet<PromiseToken> = BTreeSet::new();
        let first = self.first_holders(tx, &released, &promises).await?;
        let (mut late, mut taken_again) = (Vec::new(), Vec::new());
        let mut adopted = Vec::with_capacity(released.len());
        let mut seen: BTreeSet<PromiseToken> = BTreeSet::new();
        for (order, by) in released {
            if let Some(stored) = promises.get_mut(&order.token)
                && seen.insert(order.token)
                && stored.order().is_some_and(|other| other != order.order)
                && store::work::of_promise(tx, order.token).await?.is_none()
            {
                tracing::warn!(order_id = %order.order, promise_token = %order.token,
                    "a promise was confirmed for an order that never came; it is taken by one that did");
                stored.state = State::Live { expires: stored.expires };
            }
            let promise = promises.get(&order.token).filter(|_| order.is_unpaid);
            let holder = promise.and_then(|stored| {
                let holder = first.get(&order.order).unwrap_or(&stored.holder);
                self.debtor(holder, stored.channel.as_deref())
            });
            let order = Released { holder, ..order };
            match promises.get_mut(&order.token).map(|stored| taken(stored, &order)) {
                // Not known here: its work goes on without capacity.
                None => tracing::warn!(order_id = %order.order, promise_token = %order.token,
                    "an order came with a promise that is not known here"),
                Some(Taken::No) => {
                    adopted.push((order.without_promise(), by));
                    continue;
                }
                Some(Taken::Again) => {}
                Some(Taken::Now) => {
                    changed.insert(order.token);
                }
                Some(Taken::Late) => {
                    changed.insert(order.token);
                    late.push(order.token.uuid());
                    let stored = promises.get(&order.token).into_iter();
                    for leg in stored.flat_map(|stored| &stored.legs).filter(|leg| !leg.places.is_empty()) {
                        leg.places.iter().for_each(|place| slots.take(place));
                        taken_again.push(leg.id);
                    }
                }
            }
            adopted.push((order, by));
        }
        store::task::cancel(tx, Kind::ReleaseReservation.name(), &late).await?;
        store::promise_leg::set_held(tx, &taken_again, true).await?;
        promises.retain(|token, _| changed.contains(token));
        for stored in promises.values_mut() {
            slots.end_count(stored);
        }
        store::promise::save_many(tx, &promises.into_values().collect::<Vec<_>>()).await?;
        Ok(adopted)
    }

    /// The holders of orders whose pieces a service has held again, for itself: those of the promises that they were placed on.
    async fn first_holders(
        &self,
        tx: &mut Tx,
        released: &[(Released, By)],
        promises: &BTreeMap<PromiseToken, Stored>,
    ) -> Result<HashMap<OrderId, String>, Error> {
        let is_again = |order: &Released| {
            let promise = promises.get(&order.token).filter(|_| order.is_unpaid);
            promise.is_some_and(|stored| stored.holder.starts_with("service/"))
        };
        let again = released.iter().map(|(order, _)| order).filter(|order| is_again(order));
        let again: BTreeSet<OrderId> = again.map(|order| order.order).collect();
        if again.is_empty() { Ok(HashMap::new()) } else { store::promise::holders_of(tx, &again).await }
    }

    /// Among whose unpaid orders one through a channel counts: those of its holder, if there is a limit of them.
    fn debtor(&self, holder: &str, channel: Option<&str>) -> Option<String> {
        let (kind, _) = holder.split_once('/')?;
        let quota = self.quota(kind, channel, self.clock.business())?;
        quota.unpaid_orders.map(|_| holder.to_owned())
    }
}

/// What became of a promise.
enum Taken {
    /// It is another order's.
    No,
    /// It was this order's before.
    Again,
    /// It is this order's from now on.
    Now,
    /// It had ended, and is this order's all the same; its capacity is taken again, beyond the limit if need be.
    Late,
}

fn taken(stored: &mut Stored, released: &Released) -> Taken {
    let (state, how) = match stored.state.adopt(released.order) {
        Ok(adopted) => adopted,
        Err(refusal) => {
            tracing::error!(order_id = %released.order, promise_token = %released.token, %refusal,
                "an order came with the promise of another order");
            return Taken::No;
        }
    };
    stored.state = state;
    match how {
        Adopted::Again => Taken::Again,
        Adopted::Held => Taken::Now,
        Adopted::CapacityLost => {
            tracing::warn!(order_id = %released.order, promise_token = %released.token,
                "an order came after its promise ended; its capacity is taken beyond the limit");
            metrics::counter!("entrepot_promises_adopted_late_total").increment(1);
            Taken::Late
        }
    }
}
