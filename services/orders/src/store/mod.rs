//! All SQL of orders.

mod groups;
mod insert;
mod legs;
mod list;
mod load;
mod money;
mod needs;
mod save;

pub(crate) use insert::{New, insert, rest_of};
pub(crate) use list::{Filter, Position, Step, page, timeline};
pub(crate) use load::{
    Found, Loaded, by_channel, by_channels, by_legs, by_promise, due, due_upkeep, glance, load, lock,
    lock_many, many, next_due, overdue,
};
pub(crate) use needs::need_of_option;
pub(crate) use save::{Change, Note, changes_of, postpone};

/// The columns of an order, for its three ways of being read.
macro_rules! select_orders {
    ($($rest:tt)*) => {
        concat!(
            "SELECT o.order_id, o.version, o.channel, o.channel_order_id, o.customer_ref, o.currency, ",
            "o.member_ref, o.journey_id, o.attribution, ",
            "o.tax_included, o.terms, o.acceptance, o.cancel_code, o.total, o.blocks, o.promise_token, ",
            "o.placed_at, o.updated_at, o.payment_due_at, o.payment_ends_at, o.payment_policy, o.lapsed_at, o.expired_at, ",
            "o.confirmed_at, o.cancels, o.line_count, o.leg_line_count, o.charge_count, o.refund_count, o.money_count, ",
            "o.need_count, o.step_count FROM orders o ",
            $($rest)*
        )
    };
}
pub(crate) use select_orders;
