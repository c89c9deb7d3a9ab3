//! Who may call what.

use server::Access;
use server::auth::kind::{ALL, ANONYMOUS, CHANNEL, CUSTOMER, OPS, SERVICE, STORE};

/// The kinds of callers of each method.
pub const ACCESS: &[Access] = &[
    Access::to("/entrepot.orders.v1.OrderService/PlaceOrder", ALL),
    Access::to("/entrepot.orders.v1.OrderService/PayOrder", ALL),
    Access::to("/entrepot.orders.v1.OrderService/CancelOrder", &[CUSTOMER, CHANNEL, STORE, OPS, ANONYMOUS]),
    Access::to("/entrepot.orders.v1.OrderService/GetOrder", ALL),
    Access::to("/entrepot.orders.v1.OrderService/GetOrderByChannelId", ALL),
    Access::to("/entrepot.orders.v1.OrderService/ListOrders", &[CHANNEL, STORE, OPS, SERVICE, ANONYMOUS]),
    Access::to("/entrepot.orders.v1.OrderService/ListOrderTimeline", ALL),
    Access::to("/entrepot.orders.v1.OrderService/WatchOrder", ALL),
    Access::to("/entrepot.orders.v1.OrderEventsService/ReplayEvents", &[SERVICE, OPS]),
    Access::to("/entrepot.orders.v1.OrderEventsService/ListHeads", &[SERVICE, OPS]),
];
