//! Events of needs as messages of the topic.

use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use domain::id::FulfillmentId;
use domain::order::spread::LegParts;
use domain::order::{How, Need, Order};

use super::event::{parts, work};
use super::need::{all_options, need};

/// The full name of an event's message, and the message.
type Named = (&'static str, Body);

pub(super) fn opened(order: &Order, of: &Need) -> Named {
    let opened = pb::OrderNeedOpened { need: Some(need(order, of)) };
    ("entrepot.orders.v1.OrderNeedOpened", Body::NeedOpened(opened))
}

pub(super) fn rerouted(order: &Order, of: &Need, legs: &[FulfillmentId], let_go: &LegParts) -> Named {
    let rerouted = pb::OrderRerouted {
        need: Some(need(order, of)),
        work: work(order, |leg| legs.contains(&leg.id)),
        let_go: parts(let_go),
    };
    ("entrepot.orders.v1.OrderRerouted", Body::Rerouted(rerouted))
}

pub(super) fn offered(order: &Order, of: &Need, let_go: &LegParts) -> Named {
    let offered = pb::OrderOptionsOffered {
        need: Some(need(order, of)),
        options: all_options(order, of),
        let_go: parts(let_go),
    };
    ("entrepot.orders.v1.OrderOptionsOffered", Body::OptionsOffered(offered))
}

pub(super) fn closed(order: &Order, of: &Need, how: How, let_go: &LegParts) -> Named {
    // Pieces that were dropped for want of goods are so for the channel's reason.
    let reason = match how {
        How::Chosen | How::NoAnswer => order.drop_reason(of),
        How::Cancelled | How::Expired => &of.reason,
    };
    let closed = pb::OrderNeedClosed {
        need: Some(pb::Need { reason: reason.to_owned(), ..need(order, of) }),
        how: how.name().to_owned(),
        let_go: parts(let_go),
    };
    ("entrepot.orders.v1.OrderNeedClosed", Body::NeedClosed(closed))
}
