//! Fulfillment orders, from the offer to the handover, and the stream of each node's work (`WorkService`).

pub(crate) mod accept;
pub(crate) mod cancel;
pub(crate) mod change;
pub(crate) mod clock;
pub(crate) mod code;
pub(crate) mod command;
pub(crate) mod hand_over;
pub(crate) mod offer;
pub(crate) mod pick;
pub(crate) mod put_back;
pub(crate) mod ready;
pub(crate) mod reject;
pub(crate) mod views;
pub(crate) mod watch;
