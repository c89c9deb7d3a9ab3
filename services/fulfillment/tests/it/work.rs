//! The store's work, from its stream to the customer, through the gRPC API on both engines.

use contract::fulfillment::v1::fulfillment_event::Body;
use contract::fulfillment::v1::{
    AcceptWorkRequest, ConfirmPutBackRequest, FulfillmentEvent, FulfillmentStage as Stage,
    FulfillmentState as State, HandOverLine, HandOverRequest, IssuePickupCodeRequest, PickLine,
    PickLinesRequest, RejectReason, RejectWorkRequest, ShortReason,
};
use jiff::SignedDuration;
use test_world::{by, fresh, reason};
use tonic::Code;

use crate::work_world::{Shop, buckets};

/// From where to where how many units moved.
fn moved(event: &FulfillmentEvent) -> Option<(Stage, Stage, i64)> {
    match event.body.as_ref()? {
        Body::Moved(moved) => {
            Some((moved.from(), moved.to(), moved.lines.iter().map(|line| line.quantity).sum()))
        }
        _ => None,
    }
}

#[tokio::test]
async fn an_order_goes_from_the_stream_to_the_customer() {
    for shop in Shop::all().await {
        let mut stream = shop.watch("N1", "").await;
        assert!(stream.next().await.item.is_none(), "nothing to do yet");
        let work = shop.placed("N1", &[2, 1]).await;
        let item = stream.next().await.item.unwrap();
        let offered = item.fulfillment_order.unwrap();
        assert_eq!((item.feed_sequence, offered.state()), (1, State::Offered));
        assert_eq!((offered.fulfillment_id.as_str(), offered.order_id.as_str()), (&*work.id, &*work.order));
        assert_eq!(offered.lines.len(), 2);
        assert!(offered.accept_due_time.is_some());

        let store = shop.store("N1");
        assert_eq!(store.accept(&work.id).await.unwrap().state(), State::Accepted);
        assert_eq!(store.start(&work.id).await.unwrap().state(), State::Picking);
        let picked = store.pick(&work.id, &[(1, 1, 0)]).await.unwrap();
        assert_eq!(buckets(&picked, 1).picked, 1);
        assert_eq!(reason(&store.ready(&work.id).await.unwrap_err()), "STILL_TO_PICK");
        store.pick(&work.id, &[(1, 0, 1), (2, 1, 0)]).await.unwrap();
        let ready = store.ready(&work.id).await.unwrap();
        assert_eq!(ready.state(), State::ReadyForPickup);
        assert_eq!((buckets(&ready, 1).ready, buckets(&ready, 1).short), (1, 1));
        assert!(ready.keep_until_time.is_some());

        let code = shop.issue_code(&work.id).await.unwrap();
        assert!(code.len() >= 8);
        let found = store.find(&code.to_lowercase()).await.unwrap();
        assert_eq!(found.fulfillment_id, work.id);
        let done = store.hand_over(&work.id, &code, &[]).await.unwrap();
        assert_eq!((done.state(), done.end_reason.as_str()), (State::Done, ""));
        assert_eq!((buckets(&done, 1).done, buckets(&done, 2).done), (1, 1));

        let events = shop.events(&work.id).await;
        let names: Vec<&str> =
            events.iter().map(|event| event.event_type.rsplit('.').next().unwrap()).collect();
        let expected = [
            "FulfillmentOffered",
            "FulfillmentAccepted",
            "FulfillmentMoved",
            "FulfillmentMoved",
            "FulfillmentMoved",
            "FulfillmentMoved",
            "CustomerNoticeDue",
            "PickupCodeIssued",
            "FulfillmentMoved",
        ];
        assert_eq!(names, expected);
        let moves: Vec<_> = events.iter().filter_map(|event| moved(&event.body)).collect();
        let path = [
            (Stage::Accepted, Stage::Picking, 0),
            (Stage::Picking, Stage::Picked, 1),
            (Stage::Picking, Stage::Picked, 1),
            (Stage::Picked, Stage::Ready, 2),
            (Stage::Ready, Stage::Done, 2),
        ];
        assert_eq!(moves, path, "one event for every step of the units");
        let versions: Vec<i64> = events.iter().map(|event| event.sequence).collect();
        assert_eq!(versions, (1..=9).collect::<Vec<_>>());
        assert_eq!(events[1].actor, "store/N1");
        for event in &events {
            let order = event.body.fulfillment_order.as_ref().unwrap();
            assert_eq!(order.version, event.sequence, "each event has the state right after it");
            assert!(!format!("{:?}", event.body).contains(&code), "no code in events");
        }
        let mut last = 1;
        while last < 8 {
            let Some(item) = stream.next().await.item else { continue };
            assert_eq!(item.feed_sequence, last + 1, "the feed has no gaps");
            last = item.feed_sequence;
        }
    }
}

#[tokio::test]
async fn a_store_that_was_offline_gets_all_it_missed() {
    for shop in Shop::all().await {
        let first = shop.placed("N1", &[1]).await;
        let mut stream = shop.watch("N1", "").await;
        let listed = stream.next().await;
        assert_eq!(listed.item.unwrap().fulfillment_order.unwrap().fulfillment_id, first.id);
        drop(stream);
        let second = shop.placed("N1", &[1]).await;
        let third = shop.placed("N1", &[1]).await;
        shop.placed("N2", &[1]).await;
        shop.store("N1").accept(&second.id).await.unwrap();

        let mut stream = shop.watch("N1", &listed.resume_token).await;
        let mut missed = Vec::new();
        let token = loop {
            let answer = stream.next().await;
            match answer.item {
                Some(item) => missed.push(item.fulfillment_order.unwrap()),
                None => break answer.resume_token,
            }
        };
        let ids: Vec<&str> = missed.iter().map(|order| &*order.fulfillment_id).collect();
        // The list that was cut off goes on first, then the changes since it began.
        for id in [&second.id, &third.id] {
            assert!(ids.contains(&&**id), "{id} in {ids:?}");
        }
        assert!(missed.iter().all(|order| order.node_id == "N1"));
        let newest = missed.iter().rfind(|order| order.fulfillment_id == second.id).unwrap();
        assert_eq!(newest.state(), State::Accepted, "the work is sent as it is now");
        drop(stream);

        let mut stream = shop.watch("N1", &token).await;
        assert!(stream.next().await.item.is_none(), "nothing is sent twice");
        let fourth = shop.placed("N1", &[1]).await;
        let item = stream.next().await.item.unwrap();
        assert_eq!(item.fulfillment_order.unwrap().fulfillment_id, fourth.id);
    }
}

#[tokio::test]
async fn a_stream_of_much_open_work_can_be_cut_at_any_item() {
    for shop in Shop::all().await {
        let mut expected = std::collections::BTreeSet::new();
        for _ in 0..60 {
            expected.insert(shop.placed("N1", &[1]).await.id);
        }
        let (mut seen, mut token) = (std::collections::BTreeSet::new(), String::new());
        'cut: loop {
            let mut stream = shop.watch("N1", &token).await;
            for _ in 0..7 {
                let answer = stream.next().await;
                token = answer.resume_token;
                match answer.item {
                    Some(item) => assert!(seen.insert(item.fulfillment_order.unwrap().fulfillment_id)),
                    None => break 'cut,
                }
            }
        }
        assert_eq!(seen, expected);
    }
}

#[tokio::test]
async fn a_token_older_than_the_feed_starts_with_all_open_work() {
    for shop in Shop::all().await {
        let open = shop.placed("N1", &[1]).await;
        let gone = shop.placed("N1", &[1]).await;
        let mut stream = shop.watch("N1", "").await;
        let old = loop {
            let answer = stream.next().await;
            if answer.item.is_none() {
                break answer.resume_token;
            }
        };
        drop(stream);
        shop.store("N1").accept(&open.id).await.unwrap();
        shop.store("N1").reject(&gone.id, RejectReason::TooBusy).await.unwrap();
        shop.pass(SignedDuration::from_hours(24 * 8));
        shop.prune().await;
        let mut stream = shop.watch("N1", &old).await;
        let item = stream.next().await.item.unwrap();
        assert_eq!(item.fulfillment_order.unwrap().fulfillment_id, open.id);
        assert!(stream.next().await.item.is_none(), "what is over is not sent again");
    }
}

#[tokio::test]
async fn of_two_accepts_one_wins() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        let store = shop.store("N1");
        let (a, b) = tokio::join!(store.accept(&work.id), store.accept(&work.id));
        let (won, lost) = if a.is_ok() { (a, b) } else { (b, a) };
        assert_eq!(won.unwrap().version, 2);
        let lost = lost.unwrap_err();
        assert_eq!((lost.code(), reason(&lost)), (Code::FailedPrecondition, "WRONG_STATE".to_owned()));
        assert_eq!(shop.events(&work.id).await.len(), 2);
    }
}

#[tokio::test]
async fn the_same_request_twice_has_one_effect_and_one_answer() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[3]).await;
        let mut store = shop.store("N1").client;
        let accept = AcceptWorkRequest { request_id: fresh(), fulfillment_id: work.id.clone() };
        let first = store.accept_work(by("store/N1", accept.clone())).await.unwrap().into_inner();
        let again = store.accept_work(by("store/N1", accept.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        shop.store("N1").start(&work.id).await.unwrap();
        let line = PickLine { line: 1, picked: 1, short: 0, short_reason: 0, sku: String::new() };
        let pick =
            PickLinesRequest { request_id: fresh(), fulfillment_id: work.id.clone(), lines: vec![line] };
        let first = store.pick_lines(by("store/N1", pick.clone())).await.unwrap().into_inner();
        let again = store.pick_lines(by("store/N1", pick.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        assert_eq!(buckets(&again.fulfillment_order.unwrap(), 1).picked, 1);
        let mut other = pick.clone();
        other.lines[0].picked = 2;
        let refused = store.pick_lines(by("store/N1", other)).await.unwrap_err();
        assert_eq!(reason(&refused), "REQUEST_ID_REUSED");
        assert_eq!(shop.events(&work.id).await.len(), 4);
    }
}

#[tokio::test]
async fn a_store_cannot_see_or_touch_the_work_of_another() {
    for shop in Shop::all().await {
        let work = shop.placed("N1", &[1]).await;
        let other = shop.store("N2");
        for refused in [
            other.accept(&work.id).await.unwrap_err(),
            other.reject(&work.id, RejectReason::Other).await.unwrap_err(),
            other.get(&work.id).await.unwrap_err(),
            other.hand_over(&work.id, "01234567", &[]).await.unwrap_err(),
        ] {
            assert_eq!(
                (refused.code(), reason(&refused)),
                (Code::NotFound, "FULFILLMENT_NOT_FOUND".to_owned())
            );
        }
        let refused = other.list("N1", &[]).await.unwrap_err();
        assert_eq!(reason(&refused), "NODE_NOT_FOUND");
        assert!(shop.try_watch("store/N2", "N1", "").await.is_err());
        assert_eq!(shop.store("N1").of_order(&work.order).await.unwrap()[0].version, 1);
    }
}

#[tokio::test]
async fn a_channel_sees_and_issues_codes_for_its_own_orders_alone() {
    for shop in Shop::all().await {
        let work = shop.ready("N1", &[1]).await;
        let (own, other) = (shop.staff("channel", "web", ""), shop.staff("channel", "app", ""));
        for refused in [other.get(&work.id).await.unwrap_err(), other.issue_code(&work.id).await.unwrap_err()]
        {
            assert_eq!(
                (refused.code(), reason(&refused)),
                (Code::NotFound, "FULFILLMENT_NOT_FOUND".to_owned())
            );
        }
        assert!(other.of_order(&work.order).await.unwrap().is_empty());
        assert_eq!(own.get(&work.id).await.unwrap(), own.of_order(&work.order).await.unwrap()[0]);
        let code = own.issue_code(&work.id).await.unwrap();
        shop.store("N1").hand_over(&work.id, &code, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn work_is_listed_by_page_and_state() {
    for shop in Shop::all().await {
        let mut ids = Vec::new();
        for _ in 0..5 {
            ids.push(shop.placed("N1", &[1]).await.id);
        }
        let store = shop.store("N1");
        store.accept(&ids[3]).await.unwrap();
        let (mut seen, mut token) = (Vec::new(), String::new());
        loop {
            let page = store.page("N1", &[], 2, &token).await.unwrap();
            assert!(page.fulfillment_orders.len() <= 2);
            seen.extend(page.fulfillment_orders.into_iter().map(|order| order.fulfillment_id));
            if page.next_page_token.is_empty() {
                break;
            }
            token = page.next_page_token;
        }
        seen.sort();
        let mut all = ids.clone();
        all.sort();
        assert_eq!(seen, all);
        // Of several states one list, in the same order.
        let (mut of_states, mut next) = (Vec::new(), String::new());
        for _ in 0..5 {
            let page = store.page("N1", &[State::Accepted, State::Offered], 1, &next).await.unwrap();
            let [order] = page.fulfillment_orders.try_into().unwrap();
            of_states.push((order.promised_time.unwrap().seconds, order.fulfillment_id));
            next = page.next_page_token;
        }
        assert!(of_states.is_sorted() && next.is_empty(), "{of_states:?}");
        let accepted = store.list("N1", &[State::Accepted, State::Done]).await.unwrap();
        assert_eq!(accepted.fulfillment_orders.len(), 1);
        let other = store.page("N1", &[State::Offered], 2, &token).await.unwrap_err();
        assert_eq!(other.code(), Code::InvalidArgument);
        let other = store.page("N1", &[], 2, "no token").await.unwrap_err();
        assert_eq!(other.code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn bad_input_is_refused_with_every_field_named() {
    for shop in Shop::all().await {
        let mut client = shop.store("N1").client;
        let request = RejectWorkRequest {
            request_id: "x".to_owned(),
            fulfillment_id: "ord_1".to_owned(),
            reason: 99,
            note: "a\u{202E}b".to_owned(),
            lines: vec![contract::fulfillment::v1::RejectedLine { line: 1, sku: "\u{7}".to_owned() }],
        };
        let refused = client.reject_work(by("store/N1", request)).await.unwrap_err();
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "INVALID_REQUEST".to_owned()));
        let fields: Vec<String> = server::status::violations(&refused).into_iter().map(|v| v.field).collect();
        assert_eq!(fields, ["fulfillment_id", "reason", "note", "lines[0].sku", "request_id"]);

        let pick = |line, picked, short, reason: ShortReason| PickLine {
            line,
            picked,
            short,
            short_reason: reason.into(),
            sku: String::new(),
        };
        let lines = vec![
            pick(1, -1, 0, ShortReason::Unspecified),
            pick(1, 0, 0, ShortReason::Unspecified),
            pick(2, 0, 1, ShortReason::Unspecified),
            pick(3, i64::MAX, i64::MAX, ShortReason::Damaged),
        ];
        let request = PickLinesRequest { request_id: fresh(), fulfillment_id: fresh(), lines };
        let refused = client.pick_lines(by("store/N1", request)).await.unwrap_err();
        let fields: Vec<String> = server::status::violations(&refused).into_iter().map(|v| v.field).collect();
        for field in
            ["fulfillment_id", "lines[0].picked", "lines[1].line", "lines[1].picked", "lines[2].short_reason"]
        {
            assert!(fields.contains(&field.to_owned()), "{field} in {fields:?}");
        }

        let work = shop.ready("N1", &[1]).await;
        for code in ["", "1234567", "０１２３４５６７", "UUUUUUUU"] {
            let refused = shop.store("N1").hand_over(&work.id, code, &[]).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{code:?}");
        }
        let refused = shop.store("N1").hand_over(&work.id, "01234567", &[(1, 0), (1, 1)]).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        let missing = shop.store("N1").accept("ful_00000000-0000-0000-0000-000000000000").await.unwrap_err();
        assert_eq!(missing.code(), Code::NotFound);
        for token in ["x", "00", "zz00", "ffffffffffffffffffffffffffff"] {
            let refused = shop.try_watch("store/N1", "N1", token).await.unwrap_err();
            assert_eq!(refused.code(), Code::InvalidArgument, "{token:?}");
        }
        assert_eq!(shop.try_watch("ops/1", "NOWHERE", "").await.unwrap_err().code(), Code::NotFound);
        let mut channel = shop.store("N1").client;
        let ask = IssuePickupCodeRequest { request_id: String::new(), fulfillment_id: "prm_1".to_owned() };
        let refused = channel.issue_pickup_code(by("channel/web", ask)).await.unwrap_err();
        assert_eq!(server::status::violations(&refused).len(), 2);
        let ask = ConfirmPutBackRequest { request_id: fresh(), fulfillment_id: work.id.clone() };
        let refused = client.confirm_put_back(by("store/N1", ask)).await.unwrap_err();
        assert_eq!(reason(&refused), "WRONG_STATE");
        let lines = vec![HandOverLine { line: 1, quantity: 1 }; 1_001];
        let request =
            HandOverRequest { request_id: fresh(), fulfillment_id: work.id, lines, ..Default::default() };
        let refused = client.hand_over(by("store/N1", request)).await.unwrap_err();
        assert!(server::status::violations(&refused).iter().any(|v| v.field == "lines"));
    }
}
