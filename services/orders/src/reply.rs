//! Answers that are the order after a change.

use contract::orders::v1 as pb;
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
    RedirectRefundResponse
);
