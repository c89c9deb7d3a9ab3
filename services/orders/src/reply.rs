//! Answers that are the order after a change.

use contract::orders::v1 as pb;
use domain::id::PromiseToken;
use domain::order::Order;
use prost::Message;

use crate::wire;

/// An answer with the order in it.
pub(crate) trait Reply: Message + Default {
    /// The answer with this order.
    fn of(order: &Order) -> Self;
    /// The order in it.
    fn order(&self) -> Option<&pb::Order>;
}

macro_rules! replies {
    ($($message:ident),+) => {$(
        impl Reply for pb::$message {
            fn of(order: &Order) -> Self {
                Self { order: Some(wire::order(order)) }
            }

            fn order(&self) -> Option<&pb::Order> {
                self.order.as_ref()
            }
        }
    )+};
}

replies!(
    PayOrderResponse,
    AddTenderResponse,
    ClaimRefundResponse,
    ReportRefundResponse,
    RedirectRefundResponse,
    ChooseOptionResponse
);

/// Whether the order came out with this promise.
pub(crate) fn uses(reply: &impl Reply, token: PromiseToken) -> bool {
    let token = token.to_string();
    let mut legs = reply.order().into_iter().flat_map(|order| &order.groups).flat_map(|group| &group.legs);
    legs.any(|leg| leg.promise_token == token)
}
