//! Proto to domain and back, and nothing else.

mod event;
mod group;
mod money_event;
mod money_request;
mod need;
mod need_event;
mod order;
mod origin;
mod report;
mod request;

pub(crate) use event::event;
pub(crate) use money_request::{add_tender, claim_refund, pay_order, redirect_refund, report_refund};
pub(crate) use need::{consent_of, option_body, option_of, options, quote, span};
pub(crate) use order::{order, place_of, step};
pub(crate) use origin::{packed_attribution, unpacked_attribution};
pub(crate) use report::{NodeReport, report};
pub(crate) use request::{
    cancel_order, choose_option, get_order, list_options, list_orders, list_timeline, lookup, place_order,
    watch_order,
};

use contract::r#type::v1::Window;
use domain::order::Span;

/// A span of time.
pub(crate) fn window(span: Span) -> Window {
    Window { start_time: Some(time(span.start)), end_time: Some(time(span.end)) }
}

pub(crate) use service::wire::{method, method_name, method_of, money, timestamp as time};
