//! Groups, their legs, and the numbers of lines.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
use contract::r#type::v1::{Attribution, Consent, LineQuantity, Method, Packaging, Recipient, RecipientKind};
use pb::TenderState;
use prost::Message as _;

use test_world::fields;

use crate::world::{World, group, id, leg, line, minor, request, worlds};

/// The lines of a request, under these numbers.
fn numbered(mut request: pb::PlaceOrderRequest, numbers: &[u32]) -> pb::PlaceOrderRequest {
    for (line, number) in request.lines.iter_mut().zip(numbers) {
        line.line = *number;
    }
    request
}

#[tokio::test]
async fn the_numbers_of_lines_are_the_callers_everywhere() {
    for world in worlds().await {
        let lines = || vec![line("a", 3, 100), line("b", 2, 55)];
        let order = numbered(request("1", lines(), TenderState::Captured), &[9, 5]);
        let order = world.try_place(order).await.unwrap();
        let numbers: Vec<_> = order.lines.iter().map(|l| (l.line, l.sku.as_str())).collect();
        assert_eq!(numbers, [(5, "b"), (9, "a")]);
        assert_eq!(world.get(&order).await, order);
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        let work: Vec<_> =
            placed.work[0].lines.iter().map(|l| (l.line, l.sku.as_str(), l.quantity)).collect();
        assert_eq!(work, [(5, "b", 2), (9, "a", 3)]);
        // A promise that was held for lines 9 and 5 serves an order of lines 9 and 5, and of no others.
        let token = world.fake.hold_for(&[(9, "a", 3), (5, "b", 2)]);
        let on = |order: pb::PlaceOrderRequest| pb::PlaceOrderRequest {
            groups: Vec::new(),
            promise_token: token.clone(),
            ..order
        };
        let other = numbered(request("2", lines(), TenderState::Due), &[1, 2]);
        assert_eq!(fields(&world.try_place(on(other)).await.unwrap_err()), ["promise_token"]);
        let same = numbered(request("3", lines(), TenderState::Due), &[9, 5]);
        let placed = world.try_place(on(same)).await.unwrap();
        assert_eq!(leg(&placed).promise_token, token);
        let (cancelled, _) = world.try_cancel(&placed, &[(9, 2)]).await.unwrap();
        assert_eq!(cancelled.lines[1].buckets.unwrap().cancelled, 2);
        assert_eq!(fields(&world.try_cancel(&placed, &[(1, 1)]).await.unwrap_err()), ["lines[0].line"]);
    }
}

#[tokio::test]
async fn a_group_comes_back_as_it_was_asked_and_its_node_learns_what_it_needs() {
    for world in worlds().await {
        let mut wanted = request("1", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Due);
        wanted.set_payment_terms(pb::PaymentTerms::PayAtHandover);
        let recipient_refs = vec!["friend".to_owned()];
        let asked = pb::NewGroup {
            not_later_than_time: Some(prost_types::Timestamp { seconds: 1_400_000_000, nanos: 0 }),
            lines: [(2, 2), (1, 3)].map(|(line, quantity)| LineQuantity { line, quantity }).to_vec(),
            consent: Some(Consent { other_node_radius_m: 900, split: true, ..Default::default() }),
            recipient: Some(Recipient { kind: RecipientKind::Gift.into(), recipient_refs }),
            packaging: Some(Packaging { code: "BOX".to_owned(), message_ref: "m-1".to_owned() }),
            ..group(Method::Pickup.into(), "store-1")
        };
        wanted.groups = vec![asked.clone()];
        let order = world.try_place(wanted).await.unwrap();
        assert_eq!(world.get(&order).await, order);
        let [found] = order.groups.as_slice() else { panic!("{order:?}") };
        assert_eq!((found.group, found.node_id.as_str(), found.method()), (1, "store-1", Method::Pickup));
        assert_eq!(found.not_later_than_time, asked.not_later_than_time);
        assert_eq!((&found.consent, &found.recipient), (&asked.consent, &asked.recipient));
        assert_eq!(found.packaging, asked.packaging);
        assert_eq!(found.lines.iter().map(|l| (l.line, l.quantity)).collect::<Vec<_>>(), [(1, 3), (2, 2)]);
        let [leg] = found.legs.as_slice() else { panic!("{found:?}") };
        assert_eq!((leg.work_version, leg.is_accepted, leg.is_dropped), (0, false, false));
        assert_eq!(leg.lines[0].buckets.unwrap().reserved, 3);
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        let work = &placed.work[0];
        assert_eq!(
            (work.group, &work.fulfillment_id, work.recipient()),
            (1, &leg.fulfillment_id, RecipientKind::Gift)
        );
        assert_eq!((work.packaging.clone(), minor(&work.due)), (asked.packaging, 760));
        assert_eq!(work.recipient_refs, ["friend"]);
        assert_eq!(work.window, leg.window);
    }
}

#[tokio::test]
async fn groups_are_held_together_and_each_has_a_leg_of_its_own() {
    for world in worlds().await {
        let part = |node, quantities: &[(u32, i64)]| pb::NewGroup {
            lines: quantities
                .iter()
                .map(|(line, quantity)| LineQuantity { line: *line, quantity: *quantity })
                .collect(),
            ..group(Method::Pickup.into(), node)
        };
        let mut wanted = request("1", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Captured);
        wanted.groups = vec![part("store-1", &[(1, 1)]), part("store-2", &[(1, 2), (2, 2)])];
        let order = world.try_place(wanted).await.unwrap();
        assert_eq!((world.get(&order).await, world.fake.made()), (order.clone(), 1));
        let legs: Vec<_> = order.groups.iter().map(|group| (group.group, group.legs.as_slice())).collect();
        let [(1, [first]), (2, [second])] = legs.as_slice() else { panic!("{legs:?}") };
        assert_eq!((first.node_id.as_str(), second.node_id.as_str()), ("store-1", "store-2"));
        assert_ne!(first.fulfillment_id, second.fulfillment_id);
        assert_eq!(first.promise_token, second.promise_token);
        let pieces = |leg: &pb::Leg| leg.lines.iter().map(|l| (l.line, l.quantity)).collect::<Vec<_>>();
        assert_eq!((pieces(first), pieces(second)), (vec![(1, 1)], vec![(1, 2), (2, 2)]));
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        let work: Vec<_> = placed.work.iter().map(|work| (work.group, &work.fulfillment_id)).collect();
        assert_eq!(work, [(1, &first.fulfillment_id), (2, &second.fulfillment_id)]);
    }
}

#[tokio::test]
async fn a_leg_names_who_changed_its_work_last_whatever_older_news_says() {
    for world in worlds().await {
        let order = world.paid().await;
        assert_eq!(leg(&order).work_actor, "");
        let reported = |version: i64, actor: &str| {
            let accepted = ful::fulfillment_event::Body::Accepted(ful::FulfillmentAccepted {});
            let event = world.work_event(&order, ful::FulfillmentState::Accepted, accepted, |_| ());
            let mut message = ful::FulfillmentEvent::decode(event.payload.clone()).unwrap();
            let work = message.fulfillment_order.as_mut().unwrap();
            (work.version, work.update_actor) = (version, actor.to_owned());
            bus::Delivered { payload: message.encode_to_vec().into(), ..event }
        };
        for (version, actor, last) in [
            (1, "channel/web", "channel/web"),
            (3, "store/store-1#ann-7", "store/store-1#ann-7"),
            (2, "store/store-1", "store/store-1#ann-7"),
            (4, "service/fulfillment", "service/fulfillment"),
        ] {
            world.hear(&reported(version, actor)).await.unwrap();
            assert_eq!(leg(&world.get(&order).await).work_actor, last, "version {version}");
        }
    }
}

/// The bytes of each event of an order.
async fn sizes(world: &World, order: &pb::Order) -> Vec<usize> {
    let request =
        pb::ReplayEventsRequest { aggregate_id: id(order).to_string(), from_sequence: 1, page_size: 0 };
    let mut client = OrderEventsServiceClient::new(world.service.peer());
    let events = client.replay_events(request).await.unwrap().into_inner().events;
    events.iter().map(|event| event.payload.len()).collect()
}

/// The same with the longest handles.
fn from_somewhere(order: pb::PlaceOrderRequest) -> pb::PlaceOrderRequest {
    let handle = || "h".repeat(64);
    let attribution =
        Attribution { guide: handle(), campaign: handle(), content: handle(), session: handle() };
    pb::PlaceOrderRequest {
        member_ref: handle(),
        journey_id: handle(),
        attribution: Some(attribution),
        ..order
    }
}

#[tokio::test]
async fn the_events_of_the_largest_orders_stay_below_256_kib() {
    for world in worlds().await {
        // The longest SKUs in Latin and in Chinese letters; the longest names. What is due at the handover, line by line.
        let (prepaid, at_till) = (pb::PaymentTerms::Prepaid, pb::PaymentTerms::PayAtHandover);
        for (number, letter, terms, has_names) in [
            ("latin", "k", prepaid, true),
            ("han", "\u{4ed3}", prepaid, false),
            ("till", "k", at_till, true),
            ("till-han", "\u{4ed3}", at_till, false),
        ] {
            let wide = |i: usize| pb::NewLine {
                name: "\u{20bb7}".repeat(200),
                ..line(&format!("{}{i:04}", letter.repeat(60)), 1_000_000, 1)
            };
            let numbers: Vec<u32> = (0..1_000).map(|i| 4_294_966_000 + i).collect();
            let lines = (0..1_000).map(wide).collect();
            let mut order = numbered(request(number, lines, TenderState::Due), &numbers);
            order.set_payment_terms(terms);
            let order = world.try_place(from_somewhere(order)).await.unwrap();
            let half: Vec<(u32, i64)> = numbers.iter().map(|no| (*no, 500_000)).collect();
            world.try_cancel(&order, &half).await.unwrap();
            let paid = world.try_pay(&order, TenderState::Captured).await.unwrap();
            world.try_cancel(&paid, &[]).await.unwrap();
            let happened = world.happened(&order).await;
            assert_eq!(happened.last(), Some(&"cancel_requested"), "{happened:?}");
            world.reject(&paid, ful::RejectReason::TooBusy).await;
            let happened = world.happened(&order).await;
            assert_eq!(happened.last(), Some(&"refund"), "{happened:?}");
            for (size, what) in sizes(&world, &order).await.into_iter().zip(happened) {
                assert!(size < 256 * 1024, "{what} of {number} has {size} bytes");
            }
            let events = world.events(&order).await;
            let Some(Body::Placed(placed)) = &events[0].body else { panic!() };
            let name = &placed.work[0].lines[0].name;
            assert_eq!(name.len(), if has_names { 120 } else { 0 });
        }
    }
}

/// A gift for five, and the longest texts that its nodes get.
fn gift() -> pb::NewGroup {
    let recipient_refs = (0..5).map(|nth| format!("{nth}{}", "r".repeat(63))).collect();
    pb::NewGroup {
        recipient: Some(Recipient { kind: RecipientKind::Gift.into(), recipient_refs }),
        packaging: Some(Packaging { code: "B".repeat(32), message_ref: "m".repeat(64) }),
        ..group(Method::Pickup.into(), "store-1")
    }
}

#[tokio::test]
async fn the_events_of_a_gift_of_1_000_lines_and_50_legs_stay_below_256_kib() {
    for world in worlds().await {
        for (number, letter) in [("latin", "k"), ("han", "\u{4ed3}")] {
            let sku = |i: u32| format!("{}{i:04}", letter.repeat(60));
            let wide = |i: u32| pb::NewLine { name: "\u{20bb7}".repeat(200), ..line(&sku(i), 1_000_000, 1) };
            let numbers: Vec<u32> = (0..1_000).map(|i| 4_294_966_000 + i).collect();
            let mut order = numbered(
                request(&number.repeat(12), (0..1_000).map(wide).collect(), TenderState::Due),
                &numbers,
            );
            order.set_payment_terms(pb::PaymentTerms::PayAtHandover);
            let skus: Vec<String> = (0..1_000).map(sku).collect();
            let held: Vec<(u32, &str, i64)> =
                numbers.iter().zip(&skus).map(|(no, sku)| (*no, sku.as_str(), 1_000_000)).collect();
            order.promise_token = world.fake.hold_for(&held);
            world.fake.divide(&order.promise_token, 50);
            order.groups = vec![gift()];
            let order = world.try_place(from_somewhere(order)).await.unwrap();
            assert_eq!(order.groups[0].legs.len(), 50);
            let events = world.events(&order).await;
            let Some(Body::Placed(placed)) = &events[0].body else { panic!() };
            assert!(placed.work.iter().all(|work| work.recipient_refs.len() == 5 && work.lines.len() == 20));
            for (size, what) in sizes(&world, &order).await.into_iter().zip(world.happened(&order).await) {
                assert!(size < 256 * 1024, "{what} of {number} has {size} bytes");
            }
        }
    }
}

#[tokio::test]
async fn the_events_of_the_needs_of_the_largest_orders_stay_below_256_kib() {
    for world in worlds().await {
        for radius in [5_000, 0] {
            let wide = |i: usize| pb::NewLine {
                name: "\u{20bb7}".repeat(200),
                ..line(&format!("{}{i:04}", "\u{4ed3}".repeat(60)), 1_000_000, 1)
            };
            let numbers: Vec<u32> = (0..1_000).map(|i| 4_294_966_000 + i).collect();
            let lines = (0..1_000).map(wide).collect();
            let mut asked = numbered(request(&world.number(), lines, TenderState::Captured), &numbers);
            asked.groups[0].consent = Some(Consent { other_node_radius_m: radius, ..Consent::default() });
            let order = world.try_place(from_somewhere(asked)).await.unwrap();
            world.reject(&order, ful::RejectReason::NotFound).await;
            world.run_due().await;
            if radius == 0 {
                world.drop_pieces(&order).await;
            }
            let happened = world.happened(&order).await;
            let wanted: &[&str] = if radius > 0 {
                &["placed", "need_opened", "rerouted"]
            } else {
                &["placed", "need_opened", "options_offered", "need_closed", "cancelled", "refund"]
            };
            assert_eq!(happened, wanted);
            for (size, what) in sizes(&world, &order).await.into_iter().zip(happened) {
                assert!(size < 256 * 1024, "{what} has {size} bytes");
            }
        }
    }
}
