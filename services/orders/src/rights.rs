//! Who may call what, and whose orders a caller may see, change or pay.

use contract::orders::v1::{ListOrdersRequest, PlaceOrderRequest};
use domain::order::{Draft, Order, Terms};
use server::auth::kind::{ANONYMOUS, CHANNEL, CUSTOMER, OPS, PAYMENT, SERVICE, STORE};
use server::{Access, Principal};
use service::{Call, speaks_for};

use crate::error::Error;

const READERS: &[&str] = &[CUSTOMER, PAYMENT, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS];
const BUYERS: &[&str] = &[CUSTOMER, CHANNEL, STORE, OPS, SERVICE, ANONYMOUS];

/// The kinds of callers of each method. What is about money is for callers who say who they are.
pub const ACCESS: &[Access] = &[
    Access::to("/entrepot.orders.v1.OrderService/PlaceOrder", BUYERS),
    Access::named("/entrepot.orders.v1.OrderService/PayOrder", &[PAYMENT, CHANNEL, STORE, OPS]),
    Access::named("/entrepot.orders.v1.OrderService/AddTender", &[CHANNEL, STORE, OPS]),
    Access::named("/entrepot.orders.v1.OrderService/ClaimRefund", &[OPS, SERVICE]),
    Access::named("/entrepot.orders.v1.OrderService/ReportRefund", &[PAYMENT, OPS]),
    Access::named("/entrepot.orders.v1.OrderService/RedirectRefund", &[OPS]),
    Access::to("/entrepot.orders.v1.OrderService/CancelOrder", &[CUSTOMER, CHANNEL, STORE, OPS, ANONYMOUS]),
    Access::to("/entrepot.orders.v1.OrderService/ListOptions", BUYERS),
    Access::to("/entrepot.orders.v1.OrderService/ChooseOption", &[CUSTOMER, CHANNEL, STORE, OPS, ANONYMOUS]),
    Access::to("/entrepot.orders.v1.OrderService/GetOrder", READERS),
    Access::to("/entrepot.orders.v1.OrderService/GetOrderByChannelId", READERS),
    Access::to("/entrepot.orders.v1.OrderService/ListOrders", &[CHANNEL, STORE, OPS, SERVICE, ANONYMOUS]),
    Access::to("/entrepot.orders.v1.OrderService/ListOrderTimeline", READERS),
    Access::to("/entrepot.orders.v1.OrderService/WatchOrder", READERS),
    Access::to("/entrepot.orders.v1.OrderEventsService/ReplayEvents", &[SERVICE, OPS]),
    Access::to("/entrepot.orders.v1.OrderEventsService/ListHeads", &[SERVICE, OPS]),
];

/// A customer sees and changes its own orders alone, and a channel those that came by it; those of others do not exist for
/// them. Who else may call reaches every order, a store too: customers ask for help in any shop.
pub(crate) fn must_own(who: &Principal, order: &Order) -> Result<(), Error> {
    let is_theirs = match who.kind.as_str() {
        CUSTOMER => who.id == order.customer_ref,
        CHANNEL => who.id == order.channel,
        _ => true,
    };
    if is_theirs { Ok(()) } else { Err(Error::NotFound(order.id.to_string())) }
}

/// Whether [`must_own`] limits a caller to some orders.
pub(crate) fn is_limited(who: &Principal) -> bool {
    who.kind == CUSTOMER || who.kind == CHANNEL
}

/// A channel lists the orders that came by it.
pub(crate) fn narrow(who: &Principal, request: &mut ListOrdersRequest) -> Result<(), Error> {
    if who.kind != CHANNEL {
        return Ok(());
    }
    let given = &mut request.filter.get_or_insert_default().channel;
    if given.is_empty() {
        given.clone_from(&who.id);
    }
    if *given == who.id {
        Ok(())
    } else {
        Err(Error::field(
            "filter.channel",
            format!("must be {} or empty: a channel lists its own orders", who.id),
        ))
    }
}

/// A channel reports and adds payments of its own orders, and a store of what it hands over itself and is paid for then; who
/// else does so does it for all.
pub(crate) fn may_pay(who: &Principal, order: &Order) -> Result<(), Error> {
    if who.kind == CHANNEL && who.id != order.channel {
        return Err(Error::NotYourOrder);
    }
    let is_there = order.legs.iter().any(|leg| leg.is_live() && speaks_for(who, &leg.node));
    let at_handover = order.terms == Terms::PayAtHandover && is_there;
    if who.kind != STORE || at_handover { Ok(()) } else { Err(Error::NotYourMoney) }
}

/// A member of staff answers for it by name.
pub(crate) fn must_be_staff(who: &Principal) -> Result<(), Error> {
    if who.staff().is_some() { Ok(()) } else { Err(Error::NoStaff) }
}

/// A customer takes no number of a channel: the request id numbers its order. It buys for itself.
pub(crate) fn complete(who: &Principal, request: &mut PlaceOrderRequest) {
    if who.kind != CUSTOMER {
        return;
    }
    if request.channel_order_id.is_empty() {
        request.channel_order_id.clone_from(&request.request_id);
    }
    if request.customer_ref.is_empty() {
        request.customer_ref.clone_from(&who.id);
    }
}

/// Whether an order may be placed on a promise that `owner` holds (`kind/id`): by its owner, by a channel or store that sells to
/// the customer who holds it, by services and operators. For all others it does not exist.
pub(crate) fn may_place_on(who: &Principal, draft: &Draft, owner: &str) -> bool {
    let is_ours = who.kind == SERVICE || who.kind == OPS;
    let sells = who.kind == CHANNEL || who.kind == STORE;
    let customer = owner.split_once('/').filter(|(kind, _)| *kind == CUSTOMER).map(|(_, id)| id);
    let is_buyer = customer.is_some_and(|id| draft.customer_ref == id);
    is_ours || who.as_str() == owner || (sells && is_buyer)
}

/// Orders are numbered by their channel: another channel takes none of its numbers, and a customer takes none at all. What is
/// paid already is reported by a channel or an operator, what was sold elsewhere is handed over by them, and a customer names
/// no member.
pub(crate) fn may_place(who: &Principal, call: &Call, draft: &Draft) -> Result<(), Error> {
    // Purchases are counted and read by member: a customer would choose whose they are.
    let names_members = matches!(who.kind.as_str(), CHANNEL | STORE | OPS | SERVICE);
    if !names_members && !draft.origin.member_ref.is_empty() {
        let why = "must be empty: channels, stores, services and operators name members";
        return Err(Error::field("member_ref", why));
    }
    let paid = draft.tenders.iter().position(|tender| tender.state.counts());
    let sells = who.kind == CHANNEL || who.kind == OPS;
    if draft.acceptance.is_sold_elsewhere() && !sells {
        let why =
            "must be CHECKED or absent: what was sold elsewhere is handed over by its channel or an operator";
        return Err(Error::field("acceptance", why));
    }
    match who.kind.as_str() {
        CHANNEL if who.id != draft.channel => {
            Err(Error::field("channel", format!("must be {}, the channel that calls", who.id)))
        }
        CUSTOMER if draft.channel_order_id.parse() != Ok(call.id) => {
            Err(Error::field("channel_order_id", "must be empty: only a channel numbers orders"))
        }
        CUSTOMER if draft.customer_ref != who.id => {
            Err(Error::field("customer_ref", format!("must be {}, the customer that calls", who.id)))
        }
        CHANNEL | OPS => Ok(()),
        _ => paid.map_or(Ok(()), |paid| {
            let field = format!("tenders[{paid}].state");
            Err(Error::field(field, "must be DUE: payments are reported by their channel or provider"))
        }),
    }
}
