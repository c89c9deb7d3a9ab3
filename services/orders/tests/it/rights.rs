//! What a caller may see, change and pay.

use contract::orders::v1 as pb;
use pb::TenderState;
use test_world::{by, fields, fresh, reason, refusal};
use tonic::Code;

use crate::world::{World, line, request, tender, worlds};

fn cancel(order: &pb::Order) -> pb::CancelOrderRequest {
    pb::CancelOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        reason: "REMORSE".to_owned(),
        lines: Vec::new(),
    }
}

#[tokio::test]
async fn a_customer_sees_and_cancels_its_own_orders_alone() {
    let missing = (Code::NotFound, "ORDER_NOT_FOUND".to_owned());
    for world in worlds().await {
        let order = world.unpaid().await;
        let mut client = world.client.clone();
        let order_id = order.order_id.clone();
        let get = pb::GetOrderRequest { order_id: order_id.clone() };
        let lookup = pb::GetOrderByChannelIdRequest {
            channel: "web".to_owned(),
            channel_order_id: order.channel_order_id.clone(),
        };
        let timeline = pb::ListOrderTimelineRequest { order_id: order_id.clone(), ..Default::default() };
        let watch = pb::WatchOrderRequest { order_id, ..Default::default() };
        let other = "customer/c-2";
        assert_eq!(refusal(client.get_order(by(other, get.clone())).await), missing);
        assert_eq!(refusal(client.get_order_by_channel_id(by(other, lookup.clone())).await), missing);
        assert_eq!(refusal(client.list_order_timeline(by(other, timeline.clone())).await), missing);
        assert_eq!(refusal(client.watch_order(by(other, watch.clone())).await), missing);
        assert_eq!(refusal(client.cancel_order(by(other, cancel(&order))).await), missing);
        let own = "customer/c-1";
        client.get_order(by(own, get)).await.unwrap();
        client.get_order_by_channel_id(by(own, lookup)).await.unwrap();
        client.list_order_timeline(by(own, timeline)).await.unwrap();
        client.watch_order(by(own, watch)).await.unwrap();
        client.cancel_order(by(own, cancel(&order))).await.unwrap();
    }
}

/// Reads an order in all ways, and answers what each of them said.
async fn read_all(world: &World, actor: &str, order: &pb::Order) -> Vec<Result<(), tonic::Status>> {
    let mut client = world.client.clone();
    let order_id = order.order_id.clone();
    let get = pb::GetOrderRequest { order_id: order_id.clone() };
    let lookup = pb::GetOrderByChannelIdRequest {
        channel: order.channel.clone(),
        channel_order_id: order.channel_order_id.clone(),
    };
    let timeline = pb::ListOrderTimelineRequest { order_id: order_id.clone(), ..Default::default() };
    let watch = pb::WatchOrderRequest { order_id, ..Default::default() };
    vec![
        client.get_order(by(actor, get)).await.map(drop),
        client.get_order_by_channel_id(by(actor, lookup)).await.map(drop),
        client.list_order_timeline(by(actor, timeline)).await.map(drop),
        client.watch_order(by(actor, watch)).await.map(drop),
    ]
}

#[tokio::test]
async fn a_channel_sees_and_cancels_its_own_orders_alone_and_a_store_all() {
    let missing = (Code::NotFound, "ORDER_NOT_FOUND".to_owned());
    for world in worlds().await {
        let order = world.unpaid().await;
        for stranger in ["channel/app", "channel/c-1", "customer/web"] {
            for answer in read_all(&world, stranger, &order).await {
                let no = answer.unwrap_err();
                assert_eq!((no.code(), reason(&no)), missing, "{stranger}");
            }
            let mut client = world.client.clone();
            assert_eq!(refusal(client.cancel_order(by(stranger, cancel(&order))).await), missing);
        }
        let lookup = pb::GetOrderByChannelIdRequest {
            channel: "web".to_owned(),
            channel_order_id: order.channel_order_id.clone(),
        };
        let no = world.client.clone().get_order_by_channel_id(by("channel/app", lookup)).await.unwrap_err();
        assert!(!no.message().contains(&order.order_id), "{}", no.message());
        for own in [
            "channel/web",
            "store/store-1",
            "store/store-2",
            "ops/1",
            "service/x",
            "payment/psp",
            "anonymous/anonymous",
        ] {
            assert!(read_all(&world, own, &order).await.iter().all(Result::is_ok), "{own}");
        }
        let mut client = world.client.clone();
        client.cancel_order(by("store/store-2", cancel(&order))).await.unwrap();
        client.cancel_order(by("channel/web", cancel(&world.unpaid().await))).await.unwrap();
    }
}

#[tokio::test]
async fn a_channel_lists_its_own_orders_alone() {
    for world in worlds().await {
        let order = world.unpaid().await;
        let list = async |actor: &str, channel: &str, node: &str| {
            let (channel, node_id) = (channel.to_owned(), node.to_owned());
            let filter = pb::OrderFilter { channel, node_id, ..Default::default() };
            let request = pb::ListOrdersRequest { filter: Some(filter), ..Default::default() };
            let answer = world.client.clone().list_orders(by(actor, request)).await?.into_inner();
            Ok::<_, tonic::Status>(answer.orders.into_iter().map(|order| order.order_id).collect::<Vec<_>>())
        };
        for (actor, channel, node) in [
            ("channel/web", "", ""),
            ("channel/web", "web", "store-1"),
            ("store/store-1", "", ""),
            ("store/store-2", "web", "store-1"),
            ("ops/1", "", ""),
        ] {
            assert_eq!(
                list(actor, channel, node).await.unwrap(),
                std::slice::from_ref(&order.order_id),
                "{actor}"
            );
        }
        assert!(list("channel/app", "", "").await.unwrap().is_empty());
        assert!(list("store/store-2", "", "store-2").await.unwrap().is_empty());
        assert_eq!(fields(&list("channel/app", "web", "").await.unwrap_err()), ["filter.channel"]);
    }
}

async fn place(world: &World, actor: &str, order: pb::PlaceOrderRequest) -> Result<pb::Order, tonic::Status> {
    Ok(world.client.clone().place_order(by(actor, order)).await?.into_inner().order.unwrap())
}

#[tokio::test]
async fn nobody_takes_a_number_of_another_channel() {
    for world in worlds().await {
        let order = |number: &str| request(number, vec![line("a", 1, 100)], TenderState::Due);
        let no = place(&world, "channel/app", order("1")).await.unwrap_err();
        assert_eq!(fields(&no), ["channel"]);
        let no = place(&world, "customer/c-1", order("1")).await.unwrap_err();
        assert_eq!(fields(&no), ["channel_order_id"]);
        let no = place(&world, "customer/c-2", order("")).await.unwrap_err();
        assert_eq!(fields(&no), ["customer_ref"]);
        let asked = pb::PlaceOrderRequest { customer_ref: String::new(), ..order("") };
        let placed = place(&world, "customer/c-1", asked.clone()).await.unwrap();
        assert_eq!(
            (placed.channel_order_id.as_str(), placed.customer_ref.as_str()),
            (&*asked.request_id, "c-1")
        );
        assert_eq!(place(&world, "customer/c-1", asked).await.unwrap().order_id, placed.order_id);
        place(&world, "channel/web", order("1")).await.unwrap();
    }
}

fn pay(order: &pb::Order) -> pb::PayOrderRequest {
    pb::PayOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        tender_id: order.tenders[0].tender_id.clone(),
        state: TenderState::Captured.into(),
        amount: order.tenders[0].amount.clone(),
        provider_ref: "psp-1".to_owned(),
    }
}

#[tokio::test]
async fn a_store_reports_only_what_is_paid_at_its_own_handover() {
    let no = (Code::PermissionDenied, "NOT_YOUR_MONEY".to_owned());
    for world in worlds().await {
        let mut client = world.client.clone();
        let prepaid = world.unpaid().await;
        assert_eq!(refusal(client.pay_order(by("store/store-1", pay(&prepaid))).await), no);
        let mut asked = request(&world.number(), vec![line("a", 1, 100)], TenderState::Due);
        asked.set_payment_terms(pb::PaymentTerms::PayAtHandover);
        let later = world.try_place(asked).await.unwrap();
        assert_eq!(refusal(client.pay_order(by("store/store-2", pay(&later))).await), no);
        client.pay_order(by("store/store-1", pay(&later))).await.unwrap();
        assert_eq!(refusal(client.pay_order(by("channel/app", pay(&prepaid))).await), no);
        client.pay_order(by("payment/psp", pay(&prepaid))).await.unwrap();
    }
}

#[tokio::test]
async fn only_channels_and_operators_place_orders_that_are_paid() {
    for world in worlds().await {
        let paid = |state| request(&world.number(), vec![line("a", 1, 100)], state);
        for actor in ["store/store-1", "service/aftersales"] {
            let refused = place(&world, actor, paid(TenderState::Captured)).await.unwrap_err();
            assert!(refused.message().contains("tenders[0].state"), "{actor}: {refused}");
            place(&world, actor, paid(TenderState::Due)).await.unwrap();
        }
        let unnamed = world.client.clone().place_order(paid(TenderState::Authorized)).await.unwrap_err();
        assert!(unnamed.message().contains("tenders[0].state"), "{unnamed}");
        for actor in ["channel/web", "ops/desk"] {
            place(&world, actor, paid(TenderState::Captured)).await.unwrap();
        }
    }
}

#[tokio::test]
async fn an_order_is_placed_on_a_promise_only_by_who_may_use_it() {
    for world in worlds().await {
        let token = world.fake.hold_for(&[(1, "a", 1)]);
        let on = |customer: &str, token: &str| pb::PlaceOrderRequest {
            groups: Vec::new(),
            promise_token: token.to_owned(),
            channel_order_id: fresh(),
            customer_ref: customer.to_owned(),
            ..request("1", vec![line("a", 1, 100)], TenderState::Due)
        };
        let of_customer = |customer: &str, token: &str| pb::PlaceOrderRequest {
            channel_order_id: String::new(),
            ..on(customer, token)
        };
        let unknown = domain::id::PromiseToken::new(test_world::v7()).to_string();
        let absent = place(&world, "customer/c-2", of_customer("c-2", &unknown)).await.unwrap_err();
        let strangers = [
            ("customer/c-1", "customer/c-2", of_customer("c-2", &token)),
            ("customer/c-1", "anonymous/anonymous", on("c-1", &token)),
            ("customer/c-1", "channel/web", on("c-2", &token)),
            ("customer/c-1", "store/store-1", on("c-2", &token)),
            (
                "customer/c-1",
                "channel/c-1",
                pb::PlaceOrderRequest { channel: "c-1".to_owned(), ..on("c-2", &token) },
            ),
            ("channel/web", "customer/web", of_customer("web", &token)),
            ("channel/app", "channel/web", on("c-1", &token)),
            ("store/store-2", "store/store-1", on("c-1", &token)),
            ("service/orders", "channel/web", on("c-1", &token)),
            ("", "channel/web", on("", &token)),
            ("customer/guest-7", "channel/web", on("", &token)),
        ];
        for (owner, caller, asked) in strangers {
            world.fake.give(&token, owner);
            let no = place(&world, caller, asked).await.unwrap_err();
            let same = (no.code(), no.message().to_owned(), fields(&no));
            assert_eq!(
                same,
                (absent.code(), absent.message().to_owned(), fields(&absent)),
                "{caller} on {owner}"
            );
            assert_eq!(reason(&no), reason(&absent));
        }
        assert_eq!((world.fake.extensions(), world.count("SELECT COUNT(*) AS n FROM orders").await), (0, 0));
        let holders = [
            ("customer/c-1", "customer/c-1"),
            ("customer/c-1", "channel/web"),
            ("customer/c-1", "store/store-1"),
            ("customer/c-1", "ops/1"),
            ("channel/web", "channel/web"),
            ("store/store-1", "store/store-1"),
        ];
        for (owner, caller) in holders {
            let token = world.fake.hold_for(&[(1, "a", 1)]);
            world.fake.give(&token, owner);
            let asked =
                if caller.starts_with("customer/") { of_customer("c-1", &token) } else { on("c-1", &token) };
            let placed = place(&world, caller, asked).await;
            assert!(placed.is_ok(), "{caller} on {owner}: {placed:?}");
        }
        // Money is reported by others.
        let mut paid = of_customer("c-1", "");
        paid.groups = request("1", Vec::new(), TenderState::Due).groups;
        paid.tenders[0].set_state(TenderState::Authorized);
        let no = place(&world, "customer/c-1", paid).await.unwrap_err();
        assert_eq!(fields(&no), ["tenders[0].state"]);
    }
}

#[tokio::test]
async fn tenders_are_added_by_the_channel_of_the_order_and_by_stores_that_are_paid_at_the_handover() {
    let no = (Code::PermissionDenied, "NOT_YOUR_MONEY".to_owned());
    for world in worlds().await {
        let mut client = world.client.clone();
        let mut at_till = request(&world.number(), vec![line("a", 1, 100)], TenderState::Due);
        at_till.set_payment_terms(pb::PaymentTerms::PayAtHandover);
        let (at_till, prepaid) = (world.try_place(at_till).await.unwrap(), world.unpaid().await);
        let add = |order: &pb::Order, id: &str| pb::AddTenderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender: Some(tender(id, 100, TenderState::Due)),
        };
        for order in [&at_till, &prepaid] {
            world.try_pay(order, TenderState::Failed).await.unwrap();
            assert_eq!(refusal(client.add_tender(by("channel/app", add(order, "t2"))).await), no);
            assert_eq!(refusal(client.add_tender(by("store/store-2", add(order, "t2"))).await), no);
            client.add_tender(by("channel/web", add(order, "t3"))).await.unwrap();
            client.add_tender(by("ops/desk", add(order, "t4"))).await.unwrap();
        }
        assert_eq!(refusal(client.add_tender(by("store/store-1", add(&prepaid, "t5"))).await), no);
        client.add_tender(by("store/store-1", add(&at_till, "t5"))).await.unwrap();
    }
}

#[test]
fn each_kind_of_caller_reports_only_its_own_money() {
    let row = |verb: &str| {
        let path = format!("/entrepot.orders.v1.OrderService/{verb}");
        orders::ACCESS.iter().find(|access| access.method == path).unwrap()
    };
    let may = |verb: &str, kind: &str| row(verb).kinds.contains(&kind);
    let kinds = [
        "customer",
        "channel",
        "store",
        "payment",
        "ops",
        "service",
        "courier",
        "device",
        "partner",
        "anonymous",
    ];
    for (verb, allowed) in [
        ("PayOrder", &["channel", "store", "payment", "ops"][..]),
        ("AddTender", &["channel", "store", "ops"]),
        ("ClaimRefund", &["ops", "service"]),
        ("ReportRefund", &["payment", "ops"]),
        ("RedirectRefund", &["ops"]),
    ] {
        let found: Vec<_> = kinds.into_iter().filter(|kind| may(verb, kind)).collect();
        assert_eq!(found, allowed, "{verb}");
        assert!(row(verb).must_be_named, "{verb} is open to callers who do not say who they are");
    }
}
