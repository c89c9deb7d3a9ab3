//! What a cart can be promised, and the tokens that hold stock and capacity for it (`PromiseService`).

mod adopt;
pub(crate) mod answer;
mod ask;
mod batch;
mod broken;
pub(crate) mod command;
mod confirm;
mod expire;
mod extend;
pub(crate) mod follow;
mod give_up;
mod hold;
mod limits;
mod nearby;
pub(crate) mod queue;
mod read;
mod release;
mod reserve;
mod round;
mod share;
pub(crate) mod stock_view;
mod tally;
pub(crate) mod token;
