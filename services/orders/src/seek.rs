//! Pieces that a node could not do: they are held elsewhere, as far as their customer agreed to, or the customer is asked.
//!
//! Peers are asked first, then one transaction writes what came of it. A round that fails half-way is repeated with the same
//! request ids, so that it finds what it held; what turned out not to be needed is released.

use domain::id::{LineNo, NeedId, OrderId};
use domain::order::seek::{excluded, rungs};
use domain::order::{Group, Need, Nodes, OptionKind, Order, Quote, Refusal, Rung, Span};
use domain::time::{Timestamp, after_ms};

use crate::error::Error;
use crate::hold::{self, Held, NodeLimits, Wanted, WantedGroup};
use crate::store;
use crate::{Orders, wire};

/// Who acts when time does.
const ACTOR: &str = "service/orders";
/// After so long without an answer from fulfillment a customer is asked all the same, in milliseconds.
const OUTAGE_MS: i64 = 10 * 60_000;

/// A need as it was when its peers were asked.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    need: NeedId,
    tries: i64,
    open: Vec<(LineNo, i64)>,
}

impl Seen {
    pub(crate) fn of(need: &Need) -> Self {
        Self { need: need.id, tries: need.tries, open: need.open() }
    }

    /// Which need.
    pub(crate) const fn need(&self) -> NeedId {
        self.need
    }

    /// The same pieces are open.
    pub(crate) fn has_same_pieces(&self, order: &Order) -> bool {
        order.need(self.need).is_some_and(|need| need.open() == self.open)
    }

    /// And no other round has ended since.
    fn is_same(&self, order: &Order) -> bool {
        self.has_same_pieces(order) && order.need(self.need).is_some_and(|need| need.tries == self.tries)
    }
}

impl Orders {
    /// Looks for all pieces of an order that are due to be looked for.
    pub(crate) async fn seek(&self, id: OrderId, now: Timestamp) -> Result<(), Error> {
        let order = self.find(id).await?;
        let needs: Vec<NeedId> = order.seeking().into_iter().map(|need| need.id).collect();
        for need in needs {
            self.seek_one(id, need, now).await?;
        }
        Ok(())
    }

    async fn seek_one(&self, id: OrderId, need: NeedId, now: Timestamp) -> Result<(), Error> {
        // Read again: the need before this one may have changed the order.
        let order = self.find(id).await?;
        let is_due = |need: &&Need| need.seek_at.is_some_and(|at| at <= now);
        let need = order.seeking().into_iter().find(|other| other.id == need).filter(is_due);
        let Some(need) = need else { return Ok(()) };
        let outage = match self.climb(&order, need, now).await {
            Ok(Some(held)) => return self.reroute(id, &Seen::of(need), &held, now).await,
            Ok(None) => match self.find_places(&order, need).await {
                Ok(places) => return self.ask(id, &Seen::of(need), places, now).await,
                Err(error) => error,
            },
            Err(error) => error,
        };
        // Nobody is asked with an empty list because fulfillment is away for a moment; nor kept in the dark for long.
        let waits = need.asked.is_some() || need.seek_at.is_none_or(|at| after_ms(at, OUTAGE_MS) > now);
        if waits || !matches!(outage, Error::Peer(_)) {
            return Err(outage);
        }
        self.ask(id, &Seen::of(need), Vec::new(), now).await?;
        Err(outage)
    }

    /// The first hold that the consent allows. None: no node can.
    async fn climb(&self, order: &Order, need: &Need, now: Timestamp) -> Result<Option<Held>, Error> {
        let consent = wire::consent_of(order.group(need.group));
        let key = format!("orders.need/{}/{}", need.id, need.tries);
        let until = after_ms(now, self.config.hold_ms(false));
        for rung in rungs(order, need, &consent, now) {
            let Some(wanted) = wanted(order, need, &rung) else { continue };
            match self.hold_by_body(&key, &wanted, until, now).await {
                Ok(held) => return Ok(Some(held)),
                Err(error) if is_refusal(&error) => {
                    tracing::info!(order_id = %order.id, need_id = %need.id, %error, "no node can serve pieces of a need at this step of its consent");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// Gives a need the legs that were held for it, unless it changed meanwhile.
    async fn reroute(&self, id: OrderId, seen: &Seen, held: &Held, now: Timestamp) -> Result<(), Error> {
        let write = || async {
            let mut tx = self.db.begin().await?;
            let before = store::lock(&mut tx, id).await?;
            if !seen.is_same(&before.order) {
                return Ok(false);
            }
            let changed = match before.order.clone().reroute(seen.need, held.legs.clone(), now) {
                Ok(changed) => changed,
                Err(refusal) => {
                    tracing::info!(order_id = %id, %refusal, "what was held for pieces is not needed");
                    return Ok(false);
                }
            };
            self.record(&mut tx, before, changed, Vec::new(), ACTOR, now).await?;
            tx.commit().await?;
            Ok(true)
        };
        let written: Result<bool, Error> = db::retry(3, Error::is_retry, write).await;
        match written {
            Ok(true) => metrics::counter!("entrepot_orders_rerouted_total").increment(1),
            Ok(false) | Err(_) => self.release_unless_used(held.token, id).await,
        }
        self.watchers.wake(&id.uuid());
        written.map(|_| ())
    }

    /// Asks the customer, unless the need changed meanwhile.
    async fn ask(
        &self,
        id: OrderId,
        seen: &Seen,
        places: Vec<(OptionKind, Quote)>,
        now: Timestamp,
    ) -> Result<(), Error> {
        let write = || async {
            let mut tx = self.db.begin().await?;
            let before = store::lock(&mut tx, id).await?;
            if !seen.is_same(&before.order) {
                return Ok(());
            }
            match before.order.clone().ask(seen.need, places.clone(), &self.policy, now) {
                Ok(changed) => self.record(&mut tx, before, changed, Vec::new(), ACTOR, now).await?,
                Err(Refusal::NeedOver { .. } | Refusal::Blocked { .. } | Refusal::Over { .. }) => {
                    return Ok(());
                }
                Err(refusal) => return Err(refusal.into()),
            }
            tx.commit().await?;
            Ok(())
        };
        db::retry(3, Error::is_retry, write).await?;
        self.watchers.wake(&id.uuid());
        Ok(())
    }
}

/// A no that asking again would not change.
pub(crate) fn is_refusal(error: &Error) -> bool {
    match error {
        Error::Peer(answer) => hold::is_definite(answer),
        Error::LaterThanWanted { .. } | Error::NotHeld => true,
        _ => false,
    }
}

/// What a rung asks fulfillment for. All of it is stored with the order: the same round asks for the same.
fn wanted(order: &Order, need: &Need, rung: &Rung) -> Option<Wanted> {
    let group = order.group(need.group)?;
    let first = order.first_node(need.group).cloned();
    let near = match &rung.nodes {
        Nodes::Near { node, radius_m } => Some((node.clone(), *radius_m)),
        Nodes::Named(_) => None,
        // Where no place is known, the nodes near the first one come first.
        Nodes::Any => first.filter(|_| wire::place_of(group).is_none()).map(|node| (node, 0)),
    };
    let without = excluded(order, need).into_iter().map(|(node, _)| node);
    let mut limits = NodeLimits { without: without.collect(), near, parts: rung.parts };
    limits.without.sort_unstable();
    let named = match &rung.nodes {
        Nodes::Named(node) => Some(node.clone()),
        Nodes::Any | Nodes::Near { .. } => None,
    };
    let group = Group {
        method: rung.method,
        node: named,
        wanted: Some(Span { start: rung.from, end: rung.latest }),
        not_later_than: Some(rung.latest),
        ..group.clone()
    };
    let wanted = Wanted::of_groups(order, vec![WantedGroup { group, lines: need.open(), limits }]);
    // What no leg has may still have a claim, of a promise that the payment came too late for.
    let instead_of = if need.leg.is_none() { hold::given_up(order, need.group) } else { Vec::new() };
    Some(Wanted { instead_of, ..wanted })
}
