//! Placing.

use contract::fulfillment::v1::PromiseState;
use contract::orders::v1 as pb;
use contract::orders::v1::order_event::Body;
use domain::id::PromiseToken;
use orders::Config;
use pb::{OrderStatus, TenderState};
use test_world::{by, fields, fresh, reason, v7};
use tonic::Code;

use crate::world::{gbp, leg, line, minor, request, worlds, worlds_with};

#[tokio::test]
async fn a_paid_order_is_released_with_all_that_a_node_needs() {
    for world in worlds().await {
        let order = world.paid().await;
        assert_eq!(order.status(), OrderStatus::Placed);
        assert_eq!((minor(&order.total), minor(&order.paid)), (760, 760));
        assert_eq!((order.version, order.etag.as_str()), (1, "\"1\""));
        assert!(order.blocks.is_empty() && order.payment_due_time.is_none());
        assert_eq!(order.lines[0].buckets.unwrap().reserved, 3);
        assert_eq!(order, world.get(&order).await);
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        let work = &placed.work[0];
        assert_eq!(
            (work.promise_token.as_str(), work.fulfillment_id.as_str(), work.node_id.as_str()),
            (leg(&order).promise_token.as_str(), leg(&order).fulfillment_id.as_str(), "store-1")
        );
        let lines: Vec<_> = work.lines.iter().map(|l| (l.line, l.sku.as_str(), l.quantity)).collect();
        assert_eq!(lines, [(1, "a", 3), (2, "b", 2)]);
        assert_eq!(world.steps(&order).await, ["PLACED"]);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM outbox").await, 1);
    }
}

#[tokio::test]
async fn an_unpaid_order_waits_for_its_payment() {
    for world in worlds().await {
        let order = world.unpaid().await;
        assert_eq!(order.blocks().collect::<Vec<_>>(), [pb::Block::Payment]);
        assert!(order.payment_due_time.is_some());
        let events = world.events(&order).await;
        let Some(Body::Placed(placed)) = &events[0].body else { panic!("{events:?}") };
        assert_eq!(placed.blocks, [i32::from(pb::Block::Payment)]);
    }
}

#[tokio::test]
async fn the_same_request_twice_has_one_effect_and_one_answer() {
    for world in worlds().await {
        let request = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        let first = world.try_place(request.clone()).await.unwrap();
        world.confirm(&first).await;
        assert_eq!(world.try_place(request.clone()).await.unwrap(), first);
        assert_eq!(world.fake.made(), 1);
        let mut other = request;
        other.lines[0].name = "another".to_owned();
        let refused = world.try_place(other).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::InvalidArgument, "REQUEST_ID_REUSED"));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 1);
    }
}

#[tokio::test]
async fn the_same_request_32_ways_at_once_has_one_effect_and_equal_answers() {
    for world in worlds().await {
        let request = request("1", vec![line("a", 1, 100), line("b", 2, 7)], TenderState::Captured);
        let calls = (0..32).map(|_| world.try_place(request.clone()));
        let answers = futures_util::future::join_all(calls).await;
        let first = answers[0].as_ref().unwrap();
        assert!(answers.iter().all(|answer| answer.as_ref().unwrap() == first));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 1);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM events").await, 1);
        assert_eq!(world.fake.made(), 1);
    }
}

#[tokio::test]
async fn a_channels_number_makes_one_order_for_ever() {
    for world in worlds().await {
        let first = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        let order = world.try_place(first.clone()).await.unwrap();
        let again = pb::PlaceOrderRequest { request_id: fresh(), ..first.clone() };
        assert_eq!(world.try_place(again).await.unwrap().order_id, order.order_id);
        let other = request("1", vec![line("a", 2, 100)], TenderState::Captured);
        let refused = world.try_place(other).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::AlreadyExists, "CHANNEL_ORDER_ID_TAKEN")
        );
        assert_eq!(server::status::facts(&refused)["order_id"], order.order_id);
        let elsewhere = pb::PlaceOrderRequest { channel: "app".to_owned(), request_id: fresh(), ..first };
        assert_ne!(world.try_place(elsewhere).await.unwrap().order_id, order.order_id);
    }
}

#[tokio::test]
async fn one_number_many_request_ids_at_once_makes_one_order_and_holds_once() {
    for world in worlds().await {
        let first = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        let calls =
            (0..16).map(|_| world.try_place(pb::PlaceOrderRequest { request_id: fresh(), ..first.clone() }));
        let answers = futures_util::future::join_all(calls).await;
        let id = &answers[0].as_ref().unwrap().order_id;
        assert!(answers.iter().all(|answer| &answer.as_ref().unwrap().order_id == id));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 1);
        assert_eq!(world.fake.live(), 1, "the holds of those who came second went back");
    }
}

#[tokio::test]
async fn what_fulfillment_refuses_is_told_as_it_is() {
    for world in worlds().await {
        world.fake.forget("ghost");
        let unknown = request("1", vec![line("a", 1, 100), line("ghost", 1, 100)], TenderState::Captured);
        let refused = world.try_place(unknown).await.unwrap_err();
        assert_eq!(
            (refused.code(), fields(&refused)),
            (Code::InvalidArgument, vec!["lines[1].sku".to_owned()])
        );
        for (code, why) in [(Code::FailedPrecondition, "NO_STOCK"), (Code::Unavailable, "PEER_UNREACHABLE")] {
            world.fake.refuse(code, why);
            let order = request("2", vec![line("a", 1, 100)], TenderState::Captured);
            let refused = world.try_place(order).await.unwrap_err();
            assert_eq!((refused.code(), reason(&refused).as_str()), (code, why));
        }
        world.fake.refuse(Code::Internal, "STORAGE");
        let order = request("2", vec![line("a", 1, 100)], TenderState::Captured);
        let refused = world.try_place(order).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Unavailable, "PEER_FAILED"));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM inbox").await, 0, "nothing half done");
    }
}

#[tokio::test]
async fn what_is_held_for_a_new_order_counts_for_its_caller() {
    use contract::fulfillment::v1 as ful;
    for world in worlds().await {
        let mut order = request("", vec![line("a", 1, 100)], TenderState::Due);
        let mut client = world.client.clone();
        client.place_order(by("customer/c-1", order.clone())).await.unwrap();
        world.placed(TenderState::Due).await;
        let asked = world.fake.done::<ful::HoldPromiseRequest>("HoldPromise");
        let holders: Vec<_> = asked.iter().map(|asked| asked.on_behalf_of.as_str()).collect();
        assert_eq!(holders, ["customer/c-1", "channel/web"]);
        world.fake.refuse(Code::ResourceExhausted, "HOLD_QUOTA");
        order.request_id = fresh();
        let no = client.place_order(by("customer/c-1", order)).await.unwrap_err();
        assert_eq!((no.code(), reason(&no).as_str()), (Code::ResourceExhausted, "HOLD_QUOTA"));
    }
}

#[tokio::test]
async fn a_promise_token_makes_one_order_of_its_own_lines() {
    for world in worlds().await {
        let held = world.paid().await;
        let token = leg(&held).promise_token.clone();
        let with = |number: &str, lines, token: &str| {
            let mut request = request(number, lines, TenderState::Captured);
            request.promise_token = token.to_owned();
            request.groups.clear();
            request
        };
        let same = || vec![line("a", 3, 100), line("b", 2, 55)];
        let refused = world.try_place(with("x1", vec![line("a", 2, 100)], &token)).await.unwrap_err();
        assert_eq!(fields(&refused), ["promise_token"]);
        assert_eq!(
            world.fake.extensions(),
            0,
            "a promise that no order can be placed on lives no longer for it"
        );
        let refused = world.try_place(with("x2", same(), &token)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "PROMISE_TAKEN"));
        assert_eq!(world.fake.promise(&token).state(), PromiseState::Live, "it is still the first order's");
        let unknown = PromiseToken::new(v7()).to_string();
        assert_eq!(
            fields(&world.try_place(with("x3", same(), &unknown)).await.unwrap_err()),
            ["promise_token"]
        );
        world.fake.confirm(&token);
        let refused = world.try_place(with("x5", same(), &token)).await.unwrap_err();
        assert_eq!(reason(&refused), "PROMISE_TAKEN", "confirmed for an order that we do not know");
        world.fake.expire(&token);
        let refused = world.try_place(with("x4", same(), &token)).await.unwrap_err();
        assert_eq!(reason(&refused), "PROMISE_NOT_LIVE");
        assert_eq!(refused.message(), "the promise has ended (expired); hold a new one");
        let facts = server::status::facts(&refused);
        assert_eq!((&facts["promise_token"], facts["state"].as_str()), (&token, "EXPIRED"));
    }
}

#[tokio::test]
async fn a_promise_that_ends_while_it_is_looked_at_is_told_as_one_that_has_ended() {
    for world in worlds().await {
        let held = leg(&world.paid().await).promise_token.clone();
        let mut request = request("x1", vec![line("a", 3, 100), line("b", 2, 55)], TenderState::Captured);
        request.promise_token = held.clone();
        request.groups.clear();
        // The look finds it live; the extension, which the shopper never asked for, comes too late.
        world.fake.refuse(Code::FailedPrecondition, "PROMISE_EXPIRED");
        let refused = world.try_place(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), reason(&refused).as_str()),
            (Code::FailedPrecondition, "PROMISE_NOT_LIVE")
        );
        assert_eq!(refused.message(), "the promise has ended (expired); hold a new one");
        assert_eq!(server::status::facts(&refused)["promise_token"], held);
    }
}

#[tokio::test]
async fn a_twin_that_finds_its_stock_with_the_order_gets_the_orders_answer() {
    for world in worlds().await {
        let order = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        let pause = world.fake.pause("HoldPromise");
        let faster = async {
            pause.reached().await;
            let placed = world.try_place(order.clone()).await.unwrap();
            world.fake.confirm(&leg(&placed).promise_token);
            pause.go_on();
            placed
        };
        let (slower, placed) = tokio::join!(world.try_place(order.clone()), faster);
        assert_eq!(slower.unwrap(), placed);
        assert_eq!(world.fake.made(), 1, "no stock was held a second time");
    }
}

#[tokio::test]
async fn a_twin_that_is_refused_the_last_piece_gets_the_answer_of_the_one_that_has_it() {
    for world in worlds().await {
        let order = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        let pause = world.fake.pause("HoldPromise");
        let faster = async {
            pause.reached().await;
            let again = pb::PlaceOrderRequest { request_id: fresh(), ..order.clone() };
            let placed = world.try_place(again).await.unwrap();
            world.fake.refuse(Code::FailedPrecondition, "NO_STOCK");
            pause.go_on();
            placed
        };
        let (slower, placed) = tokio::join!(world.try_place(order.clone()), faster);
        assert_eq!(slower.unwrap().order_id, placed.order_id);
    }
}

#[tokio::test]
async fn an_order_has_at_most_as_many_lines_as_configured() {
    for world in worlds_with(Config { max_lines: 300, ..Config::default() }).await {
        let many = |n: u32| (0..n).map(|i| line(&format!("sku-{i}"), 1, 10)).collect::<Vec<_>>();
        let refused = world.try_place(request("1", many(301), TenderState::Captured)).await.unwrap_err();
        assert_eq!(fields(&refused), ["lines"]);
        let order = world.try_place(request("1", many(300), TenderState::Captured)).await.unwrap();
        assert_eq!(world.get(&order).await.lines.len(), 300);
        let captured: i64 = world.count("SELECT CAST(SUM(amount) AS BIGINT) AS n FROM order_money").await;
        assert_eq!(captured, minor(&order.total));
    }
}

#[tokio::test]
async fn free_goods_and_goods_on_account_need_no_tender() {
    for world in worlds().await {
        let mut free = request("1", vec![line("a", 1, 0)], TenderState::Captured);
        (free.charges, free.tenders, free.total) = (Vec::new(), Vec::new(), gbp(0));
        assert!(world.try_place(free).await.unwrap().blocks.is_empty());
        let mut account = request("2", vec![line("a", 1, 100)], TenderState::Due);
        account.set_payment_terms(pb::PaymentTerms::OnAccount);
        account.tenders.clear();
        assert!(world.try_place(account).await.unwrap().blocks.is_empty());
    }
}

#[tokio::test]
async fn many_orders_at_once_are_all_placed_each_for_itself() {
    for world in worlds().await {
        let requests = (0..150).map(|n| {
            // Every fifth has the number of another one, with another body.
            let number = if n % 5 == 4 { n - 1 } else { n };
            let lines = (0..=n % 3).map(|i| line(&format!("sku-{n}-{i}"), i + 1, 100 + n)).collect();
            request(&number.to_string(), lines, TenderState::Captured)
        });
        let requests: Vec<_> = requests.collect();
        let answers =
            futures_util::future::join_all(requests.iter().map(|r| world.try_place(r.clone()))).await;
        let mut placed = 0;
        for (answer, request) in answers.iter().zip(&requests) {
            match answer {
                Ok(order) => {
                    placed += 1;
                    assert_eq!(
                        (&order.channel_order_id, &order.total),
                        (&request.channel_order_id, &request.total)
                    );
                    assert_eq!(&world.get(order).await, order);
                    assert_eq!(world.steps(order).await, ["PLACED"]);
                }
                Err(refused) => assert_eq!(reason(refused), "CHANNEL_ORDER_ID_TAKEN"),
            }
        }
        assert_eq!(placed, 120);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM events").await, 120);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM inbox WHERE reply IS NOT NULL").await, 120);
        assert_eq!(world.fake.live(), 120);
    }
}

#[tokio::test]
async fn one_request_id_with_many_bodies_at_once_places_one_of_them() {
    for world in worlds().await {
        let request_id = fresh();
        let calls = (0..24).map(|n| {
            let request = request(&n.to_string(), vec![line("a", 1, 100)], TenderState::Captured);
            world.try_place(pb::PlaceOrderRequest { request_id: request_id.clone(), ..request })
        });
        let answers = futures_util::future::join_all(calls).await;
        let (placed, refused): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
        assert_eq!(placed.len(), 1);
        assert!(refused.iter().all(|answer| reason(answer.as_ref().unwrap_err()) == "REQUEST_ID_REUSED"));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM orders").await, 1);
    }
}

#[tokio::test]
async fn a_hold_that_ran_out_between_two_tries_is_asked_for_anew() {
    use contract::fulfillment::v1 as ful;
    use contract::fulfillment::v1::promise_service_client::PromiseServiceClient;
    for world in worlds().await {
        let order = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        // What a first try, cut off before it could write, had held.
        let key = format!("channel/web|orders.place/{}/0", order.request_id);
        let held = ful::HoldPromiseRequest {
            request_id: domain::id::derived("orders.hold", &key).to_string(),
            ttl: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
            ..Default::default()
        };
        let held =
            PromiseServiceClient::new(world.fake.peer()).hold_promise(held).await.unwrap().into_inner();
        let token = held.promise.unwrap().promise_token;
        world.fake.expire(&token);
        let placed = world.try_place(order).await.unwrap();
        assert_ne!(leg(&placed).promise_token, token);
        assert_eq!(world.fake.live(), 1);
    }
}

#[tokio::test]
async fn a_refusal_that_says_ask_again_is_aborted() {
    for world in worlds().await {
        let mut wanted = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        world.fake.end_at_once(true);
        let refused = world.try_place(wanted.clone()).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "NOT_HELD"));
        assert!(refused.message().contains("send it again with a new request_id"), "{}", refused.message());
        world.fake.end_at_once(false);
        wanted.request_id = fresh();
        let order = world.try_place(wanted).await.unwrap();
        // A promise that is still being made.
        let mut wanted = request("2", vec![line("a", 1, 100)], TenderState::Captured);
        world.fake.set(&leg(&order).promise_token, PromiseState::Pending);
        wanted.promise_token.clone_from(&leg(&order).promise_token);
        let refused = world.try_place(wanted).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::Aborted, "PROMISE_PENDING"));
    }
}

#[tokio::test]
async fn a_request_id_that_was_refused_is_free_also_for_another_body() {
    for world in worlds().await {
        let wanted = request("1", vec![line("a", 1, 100)], TenderState::Captured);
        world.fake.refuse(Code::FailedPrecondition, "NO_STOCK");
        assert_eq!(reason(&world.try_place(wanted.clone()).await.unwrap_err()), "NO_STOCK");
        world.fake.grant();
        let mut other = request("2", vec![line("b", 2, 100)], TenderState::Due);
        other.request_id.clone_from(&wanted.request_id);
        let order = world.try_place(other.clone()).await.unwrap();
        // From now on the id has its answer.
        assert_eq!(world.try_place(other).await.unwrap(), order);
        assert_eq!(reason(&world.try_place(wanted).await.unwrap_err()), "REQUEST_ID_REUSED");
        let mut payment = pb::PayOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender_id: "t1".to_owned(),
            state: TenderState::Captured.into(),
            amount: gbp(1),
            provider_ref: "psp-1".to_owned(),
        };
        let mut client = world.client.clone();
        let refused = client.pay_order(payment.clone()).await.unwrap_err();
        assert_eq!(reason(&refused), "AMOUNT_DIFFERS");
        payment.amount.clone_from(&order.tenders[0].amount);
        let paid = client.pay_order(payment).await.unwrap().into_inner().order.unwrap();
        assert_eq!(paid.tenders[0].state(), TenderState::Captured);
    }
}
