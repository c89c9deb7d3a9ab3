//! Statements for many rows that name each column once: the text, and the types of its columns, come from one list.

/// The text that inserts rows into a table, and the types of their columns, for [`Tx::batch`](crate::Tx::batch) and
/// [`Part::new`](crate::Part::new). `and` adds columns whose values are the same for every row or follow from other
/// columns (`r.quantity`). The last literal ends the statement; an `ON CONFLICT` needs `WHERE true` before it.
///
/// ```
/// let (text, columns) = db::insert_rows!(
///     "order_lines",
///     [order_id: Uuid, line_no: BigInt, quantity: BigInt],
///     and "reserved, open" = "r.quantity, 0",
///     "WHERE true ON CONFLICT (order_id, line_no) DO NOTHING"
/// );
/// assert_eq!(
///     text,
///     "INSERT INTO order_lines (order_id, line_no, quantity, reserved, open) \
///      SELECT r.order_id, r.line_no, r.quantity, r.quantity, 0 FROM {rows} \
///      WHERE true ON CONFLICT (order_id, line_no) DO NOTHING"
/// );
/// assert_eq!(columns[1], ("line_no", db::Type::BigInt));
/// ```
#[macro_export]
macro_rules! insert_rows {
    ($table:literal, [$first:ident: $of:ident $(, $column:ident: $type:ident)* $(,)?]
     $(, and $more:literal = $values:literal)? $(, $end:literal)? $(,)?) => {(
        concat!(
            "INSERT INTO ", $table, " (", stringify!($first), $(", ", stringify!($column),)* $(", ", $more,)? ") ",
            "SELECT r.", stringify!($first), $(", r.", stringify!($column),)* $(", ", $values,)? " FROM {rows}",
            $(" ", $end)?
        ),
        &[(stringify!($first), $crate::Type::$of) $(, (stringify!($column), $crate::Type::$type))*],
    )};
}

/// The text that updates rows of a table, and the types of all columns in the order `keys`, `given`, changed columns, for
/// [`Tx::batch`](crate::Tx::batch) and [`Part::new`](crate::Part::new). `keys` find the row. `given` are values that only
/// the expressions use. `and` adds assignments that are expressions. The last literal narrows which rows change, or
/// ends the statement.
///
/// ```
/// let (text, columns) = db::update_rows!(
///     "orders",
///     keys [order_id: Uuid],
///     given [before: BigInt],
///     [status: Text, due_at: BigInt],
///     and "version = orders.version + 1",
///     "AND orders.version = r.before"
/// );
/// assert_eq!(
///     text,
///     "UPDATE orders SET status = r.status, due_at = r.due_at, version = orders.version + 1 FROM {rows} \
///      WHERE orders.order_id = r.order_id AND orders.version = r.before"
/// );
/// assert_eq!(columns.map(|(name, _)| name), ["order_id", "before", "status", "due_at"]);
/// ```
#[macro_export]
macro_rules! update_rows {
    ($table:literal, keys [$key:ident: $key_type:ident $(, $keys:ident: $keys_type:ident)* $(,)?],
     $(given [$($given:ident: $given_type:ident),+ $(,)?],)?
     [$first:ident: $of:ident $(, $column:ident: $type:ident)* $(,)?]
     $(, and $more:literal)? $(, $end:literal)? $(,)?) => {(
        concat!(
            "UPDATE ", $table, " SET ", stringify!($first), " = r.", stringify!($first),
            $(", ", stringify!($column), " = r.", stringify!($column),)* $(", ", $more,)?
            " FROM {rows} WHERE ", $table, ".", stringify!($key), " = r.", stringify!($key),
            $(" AND ", $table, ".", stringify!($keys), " = r.", stringify!($keys),)*
            $(" ", $end)?
        ),
        &[
            (stringify!($key), $crate::Type::$key_type),
            $((stringify!($keys), $crate::Type::$keys_type),)*
            $($((stringify!($given), $crate::Type::$given_type),)+)?
            (stringify!($first), $crate::Type::$of)
            $(, (stringify!($column), $crate::Type::$type))*
        ],
    )};
}
