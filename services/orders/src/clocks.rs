//! The clocks of an order: what policies say of its channel, and of its node and method where it has one of each. The
//! settings say the rest.

use domain::fulfillment::method::Method;
use domain::id::{NeedId, NodeId};
use domain::order::{Draft, Group, Leg, Order, Policy};
use domain::policy::Asked;
use domain::time::Timestamp;

use crate::Orders;

impl Orders {
    /// The clocks that start now for an order.
    pub(crate) fn policy_of(&self, order: &Order, now: Timestamp) -> Policy {
        let nodes = order.legs.iter().filter(|leg| leg.is_live()).map(|leg| &leg.node);
        let methods = order.groups.iter().map(|group| group.method);
        self.policy_for(&order.channel, only(nodes), only(methods), now)
    }

    /// The clocks of a new order. Before its stock is held only the nodes that it names are known.
    pub(crate) fn policy_of_draft(
        &self,
        draft: &Draft,
        groups: &[Group],
        legs: &[Leg],
        now: Timestamp,
    ) -> Policy {
        let named = || only(groups.iter().map(|group| group.node.as_ref())).flatten();
        let node = only(legs.iter().map(|leg| &leg.node)).or_else(|| named().filter(|_| legs.is_empty()));
        let method = only(groups.iter().map(|group| group.method));
        self.policy_for(&draft.channel, node, method, now)
    }

    /// The clocks that start now for a need: its pieces have one method, and were at one node.
    pub(crate) fn policy_of_need(&self, order: &Order, need: NeedId, now: Timestamp) -> Policy {
        let need = order.need(need);
        let leg = need.and_then(|need| need.leg).and_then(|leg| order.leg(leg));
        let method = need.and_then(|need| order.method_of(need));
        self.policy_for(&order.channel, leg.map(|leg| &leg.node), method, now)
    }

    fn policy_for(
        &self,
        channel: &str,
        node: Option<&NodeId>,
        method: Option<Method>,
        now: Timestamp,
    ) -> Policy {
        let asked = Asked { node, channel: Some(channel), method, ..Asked::default() };
        self.policy.with(&self.policies.book().clocks(&asked, now))
    }
}

/// What all of them are; none: they differ, or there are none.
fn only<T: PartialEq>(mut all: impl Iterator<Item = T>) -> Option<T> {
    let first = all.next()?;
    all.all(|other| other == first).then_some(first)
}
