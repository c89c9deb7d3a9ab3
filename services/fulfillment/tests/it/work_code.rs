//! Pickup codes: typed wrong, guessed, sent twice, looked up, used for a part.

use contract::fulfillment::v1::{CollectorKind, FulfillmentState as State, HandOverRequest};
use jiff::SignedDuration;
use test_world::{by, fresh, reason};
use tonic::Code;

use crate::work_world::{Shop, buckets};

#[tokio::test]
async fn five_wrong_codes_lock_the_handover_until_a_new_code_is_issued() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        for left in (0..5).rev() {
            let refused = store.hand_over(&work.id, "00000000", &[]).await.unwrap_err();
            assert_eq!(reason(&refused), "WRONG_PICKUP_CODE");
            assert!(refused.message().contains(&format!("tries left: {left}")), "{}", refused.message());
        }
        let locked = store.hand_over(&work.id, &code, &[]).await.unwrap_err();
        assert_eq!(reason(&locked), "PICKUP_CODE_LOCKED", "the right code does not help any more");
        assert_eq!(shop.get(&work.id).await.state(), State::ReadyForPickup);
        let new = shop.issue_code(&work.id).await.unwrap();
        assert_eq!(store.hand_over(&work.id, &new, &[]).await.unwrap().state(), State::Done);
    }
}

#[tokio::test]
async fn guesses_at_once_get_no_more_tries_than_one_after_another() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        let guesses = (0..20).map(|n| {
            let (store, work) = (&store, &work);
            async move { store.hand_over(&work.id, &format!("0000000{:X}", n % 16), &[]).await.unwrap_err() }
        });
        let refused = futures_util::future::join_all(guesses).await;
        let wrong = refused.iter().filter(|status| reason(status) == "WRONG_PICKUP_CODE").count();
        assert_eq!(wrong, 5);
    }
}

#[tokio::test]
async fn a_wrong_code_sent_again_counts_once() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let request = HandOverRequest {
            request_id: fresh(),
            fulfillment_id: work.id.clone(),
            code: "0000-0000".to_owned(),
            lines: Vec::new(),
            collector: CollectorKind::Buyer.into(),
            collector_ref: String::new(),
            payment: None,
        };
        let mut client = shop.store("N1").client;
        for _ in 0..7 {
            let refused = client.hand_over(by("store/N1", request.clone())).await.unwrap_err();
            assert!(refused.message().contains("tries left: 4"), "{}", refused.message());
        }
        assert_eq!(shop.store("N1").hand_over(&work.id, &code, &[]).await.unwrap().state(), State::Done);
    }
}

#[tokio::test]
async fn look_ups_by_code_are_throttled_per_caller() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        for n in 0..10 {
            let missed = store.find(&format!("0000000{n}")).await.unwrap_err();
            assert_eq!(
                (missed.code(), reason(&missed)),
                (Code::NotFound, "PICKUP_CODE_NOT_FOUND".to_owned())
            );
        }
        let throttled = store.find(&code).await.unwrap_err();
        assert_eq!(throttled.code(), Code::ResourceExhausted);
        assert_eq!(reason(&throttled), "TOO_MANY_WRONG_CODES");
        assert_eq!(
            shop.store("N2").find(&code).await.unwrap_err().code(),
            Code::NotFound,
            "another node's code"
        );
        shop.pass(SignedDuration::from_mins(10));
        assert_eq!(store.find(&code).await.unwrap().fulfillment_id, work.id);
    }
}

#[tokio::test]
async fn wrong_codes_of_other_orders_stop_no_right_handover() {
    for shop in Shop::all().await {
        let store = shop.store("N1");
        // As many wrong ones as a caller may look up, all for other orders.
        for _ in 0..2 {
            let other = shop.ready("N1", &[1]).await;
            shop.issue_code(&other.id).await.unwrap();
            for _ in 0..5 {
                let refused = store.hand_over(&other.id, "00000000", &[]).await.unwrap_err();
                assert_eq!(reason(&refused), "WRONG_PICKUP_CODE");
            }
        }
        let work = shop.ready("N1", &[2]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        assert_eq!(
            store.find(&code).await.unwrap().fulfillment_id,
            work.id,
            "nobody guessed without an order"
        );
        let part = store.hand_over(&work.id, &code, &[(1, 1)]).await.unwrap();
        assert_eq!(part.state(), State::PartlyCollected);
        let rest = shop.issue_code(&work.id).await.unwrap();
        for n in 0..10 {
            assert_eq!(store.find(&format!("0000000{n}")).await.unwrap_err().code(), Code::NotFound);
        }
        assert_eq!(reason(&store.find(&rest).await.unwrap_err()), "TOO_MANY_WRONG_CODES");
        let guess = store.hand_over(&work.id, "00000000", &[]).await.unwrap_err();
        assert!(guess.message().contains("tries left: 4"), "a guess is still a try: {}", guess.message());
        assert_eq!(store.hand_over(&work.id, &rest, &[]).await.unwrap().state(), State::Done);
    }
}

#[tokio::test]
async fn the_rest_of_a_partial_handover_needs_a_new_code() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[2, 1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        let store = shop.store("N1");
        let refused = store.hand_over(&work.id, &code, &[(1, 3)]).await.unwrap_err();
        assert_eq!(reason(&refused), "TOO_MANY_UNITS");
        let part = store.hand_over(&work.id, &code, &[(1, 1)]).await.unwrap();
        assert_eq!(
            (part.state(), buckets(&part, 1).done, buckets(&part, 1).ready),
            (State::PartlyCollected, 1, 1)
        );
        assert_eq!(reason(&store.hand_over(&work.id, &code, &[]).await.unwrap_err()), "NO_PICKUP_CODE");
        assert_eq!(reason(&store.find(&code).await.unwrap_err()), "PICKUP_CODE_VOID");
        let first = shop.issue_code(&work.id).await.unwrap();
        let second = shop.issue_code(&work.id).await.unwrap();
        assert_eq!(reason(&store.hand_over(&work.id, &first, &[]).await.unwrap_err()), "PICKUP_CODE_VOID");
        assert_eq!(store.hand_over(&work.id, &second, &[]).await.unwrap().state(), State::Done);
    }
}

#[tokio::test]
async fn two_who_ask_for_codes_of_one_order_do_not_lock_each_other_out() {
    for shop in Shop::all().await {
        let (work, other) = (shop.ready("N1", &[1]).await, shop.ready("N1", &[1]).await);
        let store = shop.store("N1");
        let mut newest = shop.issue_code(&work.id).await.unwrap();
        // More often than a code may be tried, a caller may miss and a node may miss.
        for _ in 0..65 {
            let mine = std::mem::replace(&mut newest, shop.issue_code(&work.id).await.unwrap());
            for refused in [store.hand_over(&work.id, &mine, &[]).await, store.find(&mine).await] {
                let refused = refused.unwrap_err();
                assert_eq!(
                    (refused.code(), reason(&refused).as_str()),
                    (Code::FailedPrecondition, "PICKUP_CODE_VOID")
                );
            }
        }
        let guess = store.hand_over(&work.id, "00000000", &[]).await.unwrap_err();
        assert!(guess.message().contains("tries left: 4"), "a guess is still a try: {}", guess.message());
        let theirs = shop.issue_code(&other.id).await.unwrap();
        shop.issue_code(&other.id).await.unwrap();
        let strange = store.hand_over(&work.id, &theirs, &[]).await.unwrap_err();
        assert_eq!(
            reason(&strange),
            "WRONG_PICKUP_CODE",
            "what was another order's code is none of this one"
        );
        assert_eq!(store.find(&newest).await.unwrap().fulfillment_id, work.id);
        assert_eq!(store.hand_over(&work.id, &newest, &[]).await.unwrap().state(), State::Done);
        assert_eq!(reason(&store.find(&newest).await.unwrap_err()), "PICKUP_CODE_VOID", "it was used");
    }
}

#[tokio::test]
async fn only_who_missed_waits_however_many_miss_at_a_node() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        for guess in 0..61 {
            let guesser = shop.staff("ops", &(guess / 10).to_string(), "N1");
            let missed = guesser.find(&format!("000000{guess:02}")).await.unwrap_err();
            assert_eq!(missed.code(), Code::NotFound);
        }
        assert_eq!(
            shop.store("N1").find(&code).await.unwrap().fulfillment_id,
            work.id,
            "the shop is not locked"
        );
        let throttled = shop.staff("ops", "0", "N1").find(&code).await.unwrap_err();
        assert_eq!(reason(&throttled), "TOO_MANY_WRONG_CODES");
        shop.pass(SignedDuration::from_mins(1));
        assert!(
            shop.staff("ops", "0", "N1").find(&code).await.is_ok(),
            "a minute later one miss is forgotten"
        );
    }
}

#[tokio::test]
async fn a_guess_waits_for_no_writer() {
    for shop in Shop::all().await {
        let writer = shop.db.db().begin().await.unwrap();
        for guess in 0..12 {
            let refused = shop.store("N1").find(&format!("000000{guess:02}")).await.unwrap_err();
            assert_eq!(refused.code(), if guess < 10 { Code::NotFound } else { Code::ResourceExhausted });
        }
        writer.commit().await.unwrap();
    }
}

#[tokio::test]
async fn a_process_with_another_key_does_not_start_unless_it_replaces_the_first() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let code = shop.issue_code(&work.id).await.unwrap();
        assert!(fulfillment::has_pickup_code_key(&shop.db.db()).await.unwrap());
        let other = fulfillment::Secret::new("another secret of the tests");
        let refused =
            shop.restarted(|config| config.work.pickup_code_secret = other.clone()).await.err().unwrap();
        for way_out in ["secrets.pickup_code_key_file", "replace_pickup_code_key"] {
            assert!(refused.to_string().contains(way_out), "{refused}");
        }
        let replaces = |config: &mut fulfillment::Config| {
            config.work.pickup_code_secret = other.clone();
            config.work.replace_pickup_code_key = true;
        };
        let replaced = shop.restarted(replaces).await.unwrap();
        let void = replaced.store("N1").hand_over(&work.id, &code, &[]).await.unwrap_err();
        assert_eq!(reason(&void), "NO_PICKUP_CODE", "the channel must issue a new one");
        let code = replaced.issue_code(&work.id).await.unwrap();
        assert!(replaced.store("N1").hand_over(&work.id, &code, &[]).await.is_ok());
        assert!(shop.restarted(|_| {}).await.is_err(), "the first key is the other one now");
    }
}
