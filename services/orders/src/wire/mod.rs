//! Proto to domain and back, and nothing else.

mod event;
mod order;
mod report;
mod request;

pub(crate) use event::event;
pub(crate) use order::{order, step};
pub(crate) use report::{NodeReport, report};
pub(crate) use request::{
    cancel_order, get_order, list_orders, list_timeline, lookup, pay_order, place_order, watch_order,
};

pub(crate) use service::wire::{method, method_name, method_of, money, timestamp as time};
