//! Goods that are paid at the handover, orders that are paid elsewhere meanwhile, and payments that are lost.

use contract::fulfillment::v1::fulfillment_event::Body;
use contract::fulfillment::v1::{self as pb, FulfillmentState as State};
use contract::google::r#type::Money;
use contract::orders::v1 as orders;
use test_world::{by, fields, fresh, reason};
use tonic::{Code, Status};

use crate::work_world::{Shop, Work, pence};

const HANDOVERS: &str = "SELECT COUNT(*) AS n FROM handovers";

fn cash(minor: i64) -> pb::HandOverPayment {
    let (kind, provider_ref) = ("cash".to_owned(), "till-7/123".to_owned());
    pb::HandOverPayment { kind, amount: Some(pence(minor)), provider_ref }
}

/// The reason of a refusal, with what is due and what was given in pence.
fn refusal(refused: &Status) -> (String, String, String) {
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
    let facts = server::status::facts(refused);
    let fact = |name: &str| facts.get(name).cloned().unwrap_or_default();
    (reason(refused), fact("due_minor"), fact("given_minor"))
}

fn refused(reason: &str, due: &str, given: &str) -> (String, String, String) {
    (reason.to_owned(), due.to_owned(), given.to_owned())
}

impl Shop {
    /// Work whose goods are ready, and which is paid at the handover.
    async fn ready_to_pay(&self, quantities: &[i64], prices: &[i64], due: i64) -> Work {
        let work = self.plan("N1", quantities).at_handover(prices, due);
        self.release(&work).await;
        self.prepare(&work).await;
        work
    }

    /// What was paid at the handovers of an order, as its events have it.
    async fn payments(&self, work: &Work) -> Vec<pb::HandOverPayment> {
        let events = self.events(&work.id).await.into_iter();
        events
            .filter_map(|event| match event.body.body {
                Some(Body::Moved(moved)) => moved.payment,
                _ => None,
            })
            .collect()
    }

    /// Why what was due changed.
    async fn changes(&self, work: &Work) -> Vec<String> {
        let events = self.events(&work.id).await.into_iter();
        events
            .filter_map(|event| match event.body.body {
                Some(Body::DueChanged(changed)) => Some(changed.reason),
                _ => None,
            })
            .collect()
    }

    async fn dues(&self, work: &Work) -> (Option<Money>, Option<Money>) {
        let order = self.get(&work.id).await;
        (order.due, order.collected)
    }
}

#[tokio::test]
async fn a_handover_and_its_payment_are_one_step() {
    for shop in Shop::all().await {
        let work = shop.ready_to_pay(&[3, 1], &[1_000, 500], 1_500).await;
        let order = shop.get(&work.id).await;
        assert_eq!((order.due, order.collected), (Some(pence(1_500)), None));
        assert_eq!(order.lines[0].due, Some(pence(1_000)));
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        for (paid, said) in [
            (None, refused("PAYMENT_DUE", "334", "0")),
            (Some(cash(333)), refused("PAYMENT_DUE", "334", "333")),
            (Some(cash(335)), refused("AMOUNT_DIFFERS", "334", "335")),
            (Some(cash(1_500)), refused("AMOUNT_DIFFERS", "334", "1500")),
        ] {
            let answer = store.hand_over_for(&work.id, &code, &[(1, 1)], paid).await.unwrap_err();
            assert_eq!(refusal(&answer), said);
        }
        let all = store.hand_over(&work.id, &code, &[]).await.unwrap_err();
        assert_eq!(refusal(&all), refused("PAYMENT_DUE", "1500", "0"));
        assert!(all.message().contains("15.00 GBP"), "{}", all.message());
        assert_eq!(shop.count(HANDOVERS).await, 0);

        let part = store.hand_over_for(&work.id, &code, &[(1, 1)], cash(334)).await.unwrap();
        assert_eq!((part.due, part.collected), (Some(pence(1_166)), Some(pence(334))));
        let code = shop.issue_code(&work.id).await.unwrap();
        let done = store.hand_over_for(&work.id, &code, &[], cash(1_166)).await.unwrap();
        assert_eq!((done.state(), done.due, done.collected), (State::Done, None, Some(pence(1_500))));
        assert_eq!(shop.payments(&work).await, [cash(334), cash(1_166)]);
        let rows = shop.rows("SELECT payment_kind, payment_minor, payment_currency, payment_ref FROM handovers ORDER BY version").await;
        let kept: Vec<(String, i64, String, String)> = rows
            .iter()
            .map(|row| {
                let text = |column| row.get(column).unwrap();
                (
                    text("payment_kind"),
                    row.get("payment_minor").unwrap(),
                    text("payment_currency"),
                    text("payment_ref"),
                )
            })
            .collect();
        let row = |minor| ("cash".to_owned(), minor, "GBP".to_owned(), "till-7/123".to_owned());
        assert_eq!(kept, [row(334), row(1_166)]);
    }
}

#[tokio::test]
async fn what_is_due_follows_cancels_and_shorts() {
    for shop in Shop::all().await {
        let work = shop.plan("N1", &[4]).at_handover(&[4_000], 4_000);
        shop.release(&work).await;
        shop.cancel(&work, 1, &[(1, 1)]).await;
        assert_eq!(shop.dues(&work).await.0, Some(pence(3_000)));
        let store = shop.store("N1");
        store.accept(&work.id).await.unwrap();
        store.start(&work.id).await.unwrap();
        store.pick(&work.id, &[(1, 2, 1)]).await.unwrap();
        assert_eq!(shop.dues(&work).await.0, Some(pence(2_000)));
        store.ready(&work.id).await.unwrap();
        let code = shop.issue_code(&work.id).await.unwrap();
        let more = store.hand_over_for(&work.id, &code, &[], cash(4_000)).await.unwrap_err();
        assert_eq!(refusal(&more), refused("AMOUNT_DIFFERS", "2000", "4000"));
        store.hand_over_for(&work.id, &code, &[], cash(2_000)).await.unwrap();
    }
}

#[tokio::test]
async fn who_has_no_code_hears_nothing_of_the_payment_and_the_try_counts() {
    for shop in Shop::all().await {
        let work = shop.ready_to_pay(&[1], &[1_000], 1_000).await;
        let store = shop.store("N1");
        let none = store.hand_over(&work.id, "00000000", &[]).await.unwrap_err();
        assert_eq!(reason(&none), "NO_PICKUP_CODE");
        let code = shop.issue_code(&work.id).await.unwrap();
        for payment in [None, Some(cash(1)), Some(cash(5_000))] {
            let wrong = store.hand_over_for(&work.id, "00000000", &[], payment).await.unwrap_err();
            assert_eq!(reason(&wrong), "WRONG_PICKUP_CODE");
            assert!(!wrong.message().contains("GBP"), "{}", wrong.message());
        }
        shop.batch(&[shop.payment_lost(&work, 2)]).await;
        for _ in 0..2 {
            let wrong = store.hand_over(&work.id, "00000000", &[]).await.unwrap_err();
            assert_eq!(reason(&wrong), "WRONG_PICKUP_CODE");
        }
        let locked = store.hand_over(&work.id, &code, &[]).await.unwrap_err();
        assert_eq!(reason(&locked), "PICKUP_CODE_LOCKED", "five tries were counted");
    }
}

#[tokio::test]
async fn a_wrong_code_takes_no_payment() {
    for shop in Shop::all().await {
        let work = shop.ready_to_pay(&[1], &[1_000], 1_000).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        let request = pb::HandOverRequest {
            request_id: fresh(),
            fulfillment_id: work.id.clone(),
            code: "00000000".to_owned(),
            collector: pb::CollectorKind::Buyer.into(),
            payment: Some(cash(1_000)),
            ..Default::default()
        };
        for _ in 0..2 {
            let wrong = store.client.clone().hand_over(by("store/N1", request.clone())).await.unwrap_err();
            assert_eq!(reason(&wrong), "WRONG_PICKUP_CODE");
        }
        assert_eq!(shop.dues(&work).await, (Some(pence(1_000)), None));
        assert_eq!((shop.payments(&work).await.len(), shop.count(HANDOVERS).await), (0, 0));
        store.hand_over_for(&work.id, &code, &[], cash(1_000)).await.unwrap();
    }
}

#[tokio::test]
async fn a_handover_that_is_sent_again_is_paid_once() {
    for shop in Shop::all().await {
        let work = shop.ready_to_pay(&[2], &[1_000], 1_000).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let request = pb::HandOverRequest {
            request_id: fresh(),
            fulfillment_id: work.id.clone(),
            code,
            lines: vec![pb::HandOverLine { line: 1, quantity: 1 }],
            collector: pb::CollectorKind::Buyer.into(),
            payment: Some(cash(500)),
            ..Default::default()
        };
        let mut client = shop.store("N1").client;
        let mut answers = Vec::new();
        for _ in 0..2 {
            answers.push(client.hand_over(by("store/N1", request.clone())).await.unwrap().into_inner());
        }
        assert_eq!(answers[0], answers[1]);
        assert_eq!((shop.payments(&work).await.len(), shop.count(HANDOVERS).await), (1, 1));
        assert_eq!(shop.dues(&work).await, (Some(pence(500)), Some(pence(500))));
        let other = pb::HandOverRequest { payment: Some(cash(501)), ..request };
        let refused = client.hand_over(by("store/N1", other)).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_tills_at_once_take_what_is_due_once() {
    for shop in Shop::all().await {
        for _ in 0..5 {
            let work = shop.ready_to_pay(&[2], &[1_001], 1_001).await;
            let code = shop.issue_code(&work.id).await.unwrap();
            let store = shop.store("N1");
            let till = || store.hand_over_for(&work.id, &code, &[], cash(1_001));
            let both = tokio::join!(till(), till());
            assert!(both.0.is_ok() != both.1.is_ok(), "{both:?}");
            assert_eq!(shop.payments(&work).await, [cash(1_001)]);
            assert_eq!(shop.dues(&work).await, (None, Some(pence(1_001))));
        }
    }
}

#[tokio::test]
async fn what_is_paid_elsewhere_is_not_due_at_the_handover() {
    for shop in Shop::all().await {
        // 5.00 of 15.00 was paid before the store had the work.
        let work = shop.ready_to_pay(&[2, 1], &[1_000, 500], 1_000).await;
        let mut stream = shop.watch("N1", "").await;
        while stream.next().await.item.is_some() {}
        let version = shop.get(&work.id).await.version;
        shop.batch(&[shop.paid(&work, 2, 300)]).await;
        let seen = stream.next().await.item.unwrap().fulfillment_order.unwrap();
        assert_eq!((seen.due, seen.version), (Some(pence(300)), version + 1));
        // The same again changes nothing; a payment that is lost is due again.
        shop.batch(&[shop.paid(&work, 3, 300), shop.paid(&work, 4, 1_000), shop.paid(&work, 5, 300)]).await;
        assert_eq!(shop.get(&work.id).await.version, version + 3);
        assert_eq!(shop.changes(&work).await, ["PAID", "PAID", "PAID"]);

        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        let covered = store.hand_over(&work.id, &code, &[(1, 2)]).await.unwrap();
        assert_eq!((covered.due, covered.collected), (Some(pence(300)), None));
        shop.batch(&[shop.paid(&work, 5, 0)]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let refused = store.hand_over_for(&work.id, &code, &[], cash(300)).await.unwrap_err();
        assert_eq!(refusal(&refused), ("AMOUNT_DIFFERS".to_owned(), "0".to_owned(), "300".to_owned()));
        store.hand_over(&work.id, &code, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn a_lost_payment_stops_the_handover_alone_until_the_order_is_paid_again() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        let mut stream = shop.watch("N1", "").await;
        while stream.next().await.item.is_some() {}
        shop.batch(&[shop.payment_lost(&work, 2)]).await;
        let seen = stream.next().await.item.unwrap().fulfillment_order.unwrap();
        assert!(seen.is_payment_lost && seen.due.is_none(), "{seen:?}");
        shop.batch(&[shop.payment_lost(&work, 2)]).await;
        shop.prepare(&work).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        for payment in [None, Some(cash(1_000))] {
            let refused = store.hand_over_for(&work.id, &code, &[], payment).await.unwrap_err();
            assert_eq!(refusal(&refused), ("PAYMENT_DUE".to_owned(), String::new(), String::new()));
            assert!(refused.message().contains("paid again"), "{}", refused.message());
        }
        while !stream.next().await.item.unwrap().fulfillment_order.unwrap().state().eq(&State::ReadyForPickup)
        {
        }
        shop.batch(&[shop.unblocked(&work, 3)]).await;
        let mut seen = stream.next().await.item.unwrap().fulfillment_order.unwrap();
        while seen.is_payment_lost {
            seen = stream.next().await.item.unwrap().fulfillment_order.unwrap();
        }
        assert_eq!(seen.state(), State::ReadyForPickup);
        assert_eq!(shop.changes(&work).await, ["PAYMENT_LOST", "PAID_AGAIN"]);
        let version = shop.get(&work.id).await.version;
        shop.batch(&[shop.unblocked(&work, 3)]).await;
        assert_eq!(shop.get(&work.id).await.version, version, "nothing waits any more");
        assert_eq!(store.hand_over(&work.id, &code, &[]).await.unwrap().state(), State::Done);
        shop.batch(&[shop.payment_lost(&work, 4)]).await;
        assert!(!shop.get(&work.id).await.is_payment_lost, "the customer has the goods");
    }
}

#[tokio::test]
async fn an_order_that_loses_and_finds_its_payment_in_one_batch_is_handed_over() {
    for shop in Shop::all().await {
        let (work, other) = (shop.plan("N1", &[1]), shop.plan("N2", &[1]));
        let events = [
            shop.released(&work),
            shop.payment_lost(&other, 1),
            shop.payment_lost(&work, 2),
            shop.unblocked(&work, 3),
            shop.unblocked(&other, 2),
        ];
        shop.batch(&events).await;
        assert_eq!(shop.changes(&work).await, ["PAYMENT_LOST", "PAID_AGAIN"]);
        assert!(!shop.get(&work.id).await.is_payment_lost);
        let offered = shop.get(&other.id).await;
        assert_eq!((offered.is_payment_lost, offered.version), (false, 1), "it had no work to stop");
    }
}

#[tokio::test]
async fn amounts_that_can_not_be_right_are_poison_and_change_nothing() {
    for shop in Shop::all().await {
        let cheap = shop.plan("N1", &[1]).at_handover(&[500], 501);
        let work = shop.ready_to_pay(&[1], &[1_000], 1_000).await;
        let euros = Money { currency_code: "EUR".to_owned(), units: 1, nanos: 0 };
        let paid = |due: Option<Money>| {
            let due = orders::LegDue { fulfillment_id: work.id.clone(), due };
            let paid = orders::OrderPaid { work: vec![due], ..Default::default() };
            shop.order_event(&work, 2, "OrderPaid", orders::order_event::Body::Paid(paid))
        };
        for event in [shop.released(&cheap), paid(Some(euros)), paid(Some(pence(-1))), paid(None)] {
            let poison = shop.hear_all(&[event]).await.unwrap_err();
            assert_eq!(poison.kind, bus::HandleErrorKind::Poison, "{poison}");
        }
        assert_eq!(shop.dues(&work).await, (Some(pence(1_000)), None));
    }
}

#[tokio::test]
async fn every_bad_field_of_a_payment_is_named() {
    for shop in Shop::all().await {
        let work = shop.ready_to_pay(&[1], &[1_000], 1_000).await;
        let money =
            |currency: &str, units, nanos| Some(Money { currency_code: currency.to_owned(), units, nanos });
        let payment = |kind: &str, amount, provider_ref: &str| pb::HandOverPayment {
            kind: kind.to_owned(),
            amount,
            provider_ref: provider_ref.to_owned(),
        };
        let (kind, amount, reference) = ("payment.kind", "payment.amount", "payment.provider_ref");
        let long = "x".repeat(129);
        for (payment, bad) in [
            (payment("", None, ""), &[kind, amount, reference][..]),
            (payment("Cash", money("gbp", 1, 0), "a\0b"), &[kind, "payment.amount.currency_code", reference]),
            (payment(&long, money("GBP", 1, 1), &long), &[kind, amount, reference]),
            (payment("cash", money("GBP", 0, 0), "1"), &[amount]),
            (payment("cash", money("GBP", -1, 0), "1"), &[amount]),
            (payment("cash", money("GBP", 1, -1), "1"), &[amount]),
            (payment("cash", money("JPY", 1, 10_000_000), "1"), &[amount]),
            (payment("cash", money("GBP", i64::MAX, 0), "1"), &[amount]),
        ] {
            let answer = shop.store("N1").hand_over_for(&work.id, "00000000", &[], Some(payment)).await;
            let mut named = fields(&answer.unwrap_err());
            named.sort_unstable();
            let mut bad = bad.to_vec();
            bad.sort_unstable();
            assert_eq!(named, bad);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_that_are_paid_again_and_busy_stores_do_not_stand_in_each_others_way() {
    for shop in Shop::all_patient().await {
        let other = shop.another().await;
        for round in 0..20 {
            let mut batches = [Vec::new(), Vec::new()];
            let mut lost = Vec::new();
            for (batch, nodes) in batches.iter_mut().zip([["N1", "N2"], ["N2", "N1"]]) {
                for node in nodes {
                    let work = shop.placed(node, &[2]).await;
                    shop.batch(&[shop.payment_lost(&work, 2)]).await;
                    batch.push(shop.unblocked(&work, 3));
                    lost.push(work);
                }
            }
            if round % 2 == 0 {
                for batch in &mut batches {
                    batch.push(shop.unblocked(&shop.plan("DAY", &[1]), 2));
                }
            }
            let stores = futures_util::future::join_all(lost.iter().map(|work| {
                let store = shop.store(&work.node);
                async move { store.accept(&work.id).await.unwrap() }
            }));
            let [one, two] = &batches;
            let (one, two, _) = tokio::join!(shop.try_batch(one), other.try_batch(two), stores);
            assert_eq!((one, two), (true, true), "somebody was in the way");
            for work in &lost {
                let order = shop.get(&work.id).await;
                assert_eq!((order.is_payment_lost, order.state()), (false, State::Accepted));
            }
        }
    }
}
