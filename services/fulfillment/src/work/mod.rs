//! Fulfillment orders, from the offer to the handover, and the stream of each node's work (`WorkService`).

mod accept;
mod cancel;
pub(crate) mod change;
mod clock;
mod clocks;
pub(crate) mod command;
mod find_by_code;
mod follow;
mod hand_over;
mod issue_code;
pub(crate) mod key;
pub(crate) mod know_key;
mod let_go;
mod misses;
pub(crate) mod named;
mod offer;
mod payment;
mod pick;
mod put_back;
mod ready;
mod reject;
mod silence;
pub(crate) mod state;
mod stock_lost;
mod verb;
mod views;
pub(crate) mod watch;
