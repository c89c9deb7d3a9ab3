//! Pieces that a node could not do: they are held elsewhere, as far as their customer agreed to, or the customer is asked.
//!
//! Peers are asked first, then one transaction writes what came of it. A round that fails half-way is repeated with the same
//! request ids, so that it finds what it held; what turned out not to be needed is released.

use domain::fulfillment::method::Method;
use domain::id::{LineNo, NeedId, OrderId};
use domain::order::seek::{excluded, rungs};
use domain::order::{Bounds, Group, Need, Nodes, OptionKind, Order, Quote, Refusal, Rung, Span};
use domain::policy::Asked;
use domain::time::{Timestamp, after_ms};

use crate::error::Error;
use crate::error::reason::NOT_HELD;
use crate::hold::{self, Held, NodeLimits, Wanted, WantedGroup};
use crate::{Orders, wire};

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
        let mut order = self.find(id).await?;
        let due: Vec<NeedId> = due(&order, now).map(|need| need.id).collect();
        for (round, need) in due.into_iter().enumerate() {
            if round > 0 {
                // Read again: the need before this one may have changed the order.
                order = self.find(id).await?;
            }
            self.seek_one(&order, need, now).await?;
        }
        Ok(())
    }

    async fn seek_one(&self, order: &Order, need: NeedId, now: Timestamp) -> Result<(), Error> {
        let Some(need) = due(order, now).find(|other| other.id == need) else { return Ok(()) };
        let outage = match self.climb(order, need, now).await {
            Ok(Some(held)) => return self.reroute(order.id, &Seen::of(need), &held, now).await,
            Ok(None) => match self.find_places(order, need).await {
                Ok(places) => return self.ask(order.id, &Seen::of(need), places, now).await,
                Err(error) => error,
            },
            Err(error) => error,
        };
        // Nobody is asked with an empty list because fulfillment is away for a moment; nor kept in the dark for long.
        let waits = need.asked.is_some() || need.seek_at.is_none_or(|at| after_ms(at, OUTAGE_MS) > now);
        if waits || !matches!(outage, Error::Peer(_)) {
            return Err(outage);
        }
        self.ask(order.id, &Seen::of(need), Vec::new(), now).await?;
        Err(outage)
    }

    /// The first hold that the consent allows. None: no node can.
    async fn climb(&self, order: &Order, need: &Need, now: Timestamp) -> Result<Option<Held>, Error> {
        let consent = wire::consent_of(order.group(need.group));
        let key = format!("orders.need/{}/{}", need.id, need.tries);
        let until = after_ms(now, self.config.hold_ms(None));
        for rung in rungs(order, need, &consent, &self.bounds(order, need, now), now) {
            let Some(wanted) = wanted(order, need, &rung) else { continue };
            match self.hold_by_body(&key, &wanted, until, now).await {
                Ok(held) => return Ok(Some(held)),
                Err(error) if refusal(&error).is_some() => {
                    tracing::info!(order_id = %order.id, need_id = %need.id, %error, "no node can serve pieces of a need at this step of its consent");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    /// What this round goes by: a version that comes into force between two rounds is for the next one.
    fn bounds(&self, order: &Order, need: &Need, now: Timestamp) -> Bounds {
        let (book, channel) = (self.policies.book(), Some(order.channel.as_str()));
        let said = |method| book.sourcing(&Asked { channel, method, ..Asked::default() }, now);
        let bounds = Bounds::default().with(&said(order.method_of(need)));
        Method::ALL.iter().fold(bounds, |bounds, method| bounds.with_slack(*method, &said(Some(*method))))
    }

    /// Gives a need the legs that were held for it, unless it changed meanwhile.
    async fn reroute(&self, id: OrderId, seen: &Seen, held: &Held, now: Timestamp) -> Result<(), Error> {
        let give = |order: Order, now| {
            if !seen.is_same(&order) {
                return Err(Refusal::NotDue);
            }
            order.reroute(seen.need, held.legs.clone(), now).map_err(|refusal| {
                tracing::info!(order_id = %id, %refusal, "what was held for pieces is not needed");
                Refusal::NotDue
            })
        };
        let written = self.try_change(id, now, None, give).await;
        match written {
            Ok(true) => metrics::counter!("entrepot_orders_rerouted_total").increment(1),
            Ok(false) => self.release_unless_used(held.token, id).await,
            Err(_) => {
                self.release_unless_used(held.token, id).await;
                self.watchers.wake(&id.uuid());
            }
        }
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
        let ask = |order: Order, now| {
            if !seen.is_same(&order) {
                return Err(Refusal::NotDue);
            }
            let policy = self.policy_of_need(&order, seen.need, now);
            match order.ask(seen.need, places.clone(), &policy, now) {
                Err(Refusal::NeedOver { .. } | Refusal::Blocked { .. } | Refusal::Over { .. }) => {
                    Err(Refusal::NotDue)
                }
                asked => asked,
            }
        };
        self.change(id, now, None, ask).await
    }
}

/// The needs that are due to be looked for.
fn due(order: &Order, now: Timestamp) -> impl Iterator<Item = &Need> {
    order.seeking().into_iter().filter(move |need| need.seek_at.is_some_and(|at| at <= now))
}

/// Why pieces are not held, where asking again would not change that.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    match error {
        Error::NotHeld => Some(NOT_HELD.name.to_owned()),
        error => hold::refusal(error),
    }
}

/// What a rung asks fulfillment for. All of it is stored with the order: the same round asks for the same.
fn wanted(order: &Order, need: &Need, rung: &Rung) -> Option<Wanted> {
    let group = order.group(need.group)?;
    let first = order.first_node(need.group).cloned();
    let (node, near) = match &rung.nodes {
        Nodes::Named(node) => (Some(node.clone()), None),
        Nodes::Near { node, radius_m } => (None, Some((node.clone(), *radius_m))),
        // Where no place is known, the nodes near the first one come first.
        Nodes::Any => (None, first.filter(|_| wire::place_of(group).is_none()).map(|node| (node, 0))),
    };
    let without = excluded(order, need).into_iter().map(|(node, _)| node).collect();
    let limits = NodeLimits { without, near, parts: rung.parts };
    let group = Group {
        method: rung.method,
        node,
        wanted: Some(Span { start: rung.from, end: rung.latest }),
        not_later_than: Some(rung.latest),
        ..group.clone()
    };
    let wanted = Wanted::of_groups(order, vec![WantedGroup { group, lines: need.open(), limits }]);
    // What no leg has may still have a claim, of a promise that the payment came too late for.
    let instead_of = if need.leg.is_none() { hold::given_up(order, need.group) } else { Vec::new() };
    Some(Wanted { instead_of, ..wanted })
}
