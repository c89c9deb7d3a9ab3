//! All SQL of orders.

mod insert;
mod list;
mod load;
mod save;

pub(crate) use insert::{New, insert, rest_of};
pub(crate) use list::{Filter, Position, Step, page, timeline};
pub(crate) use load::{
    Found, Loaded, by_channel, by_channels, by_promise, by_promises, due, glance, load, lock, lock_many,
    many, next_due, overdue,
};
pub(crate) use save::{Change, Note, changes_of, postpone};

/// Text that inserts rows into a table, and the types of their columns: each column is named once. `and` adds columns whose
/// values are the same for every row, or follow from its others.
macro_rules! insert_rows {
    ($table:literal, [$first:ident: $of:ident, $($column:ident: $type:ident),+ $(,)?]
     $(, and $more:literal = $values:literal)? $(, $end:literal)?) => {(
        concat!(
            "INSERT INTO ", $table, " (", stringify!($first), $(", ", stringify!($column),)+ $(", ", $more,)? ") ",
            "SELECT r.", stringify!($first), $(", r.", stringify!($column),)+ $(", ", $values,)? " FROM {rows}",
            $(" ", $end)?
        ),
        &[(stringify!($first), db::Type::$of), $((stringify!($column), db::Type::$type)),+],
    )};
}
pub(crate) use insert_rows;

/// Text that updates rows of a table, found by `keys`, and the types of all columns, keys first: each column is named once.
macro_rules! update_rows {
    ($table:literal, keys [$($key:ident: $key_type:ident),+], [$first:ident: $of:ident, $($column:ident: $type:ident),+ $(,)?],
     $found:literal) => {(
        concat!(
            "UPDATE ", $table, " SET ", stringify!($first), " = r.", stringify!($first),
            $(", ", stringify!($column), " = r.", stringify!($column),)+
            " FROM {rows} WHERE ", $found
        ),
        &[
            $((stringify!($key), db::Type::$key_type),)+
            (stringify!($first), db::Type::$of),
            $((stringify!($column), db::Type::$type)),+
        ],
    )};
}
pub(crate) use update_rows;

/// The columns of an order, for its three ways of being read.
macro_rules! select_orders {
    ($($rest:tt)*) => {
        concat!(
            "SELECT o.order_id, o.version, o.channel, o.channel_order_id, o.customer_ref, o.currency, ",
            "o.tax_included, o.terms, o.total, o.blocks, o.promise_token, o.method, o.node_id, o.promised_at, ",
            "o.held_until, o.placed_at, o.updated_at, o.payment_due_at, o.lapsed_at, o.expired_at, ",
            "o.confirmed_at, o.fulfillment_id, o.cancels, o.line_count, o.charge_count, o.refund_count, ",
            "o.step_count FROM orders o ",
            $($rest)*
        )
    };
}
pub(crate) use select_orders;
