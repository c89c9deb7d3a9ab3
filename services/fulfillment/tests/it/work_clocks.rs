//! The clocks of the work are settings: a trial of an expiry takes seconds.

use contract::fulfillment::v1 as pb;
use contract::google::r#type::Date;
use jiff::SignedDuration;
use test_world::{at, by, fresh, node, stamp};

use crate::work_world::Shop;

#[tokio::test]
async fn an_offer_and_a_pickup_end_within_seconds_where_the_settings_say_so() {
    let quick = |config: &mut fulfillment::Config| {
        config.clocks.accept_s = 5;
        config.clocks.keep_s = 20;
        config.clocks.first_reminder_s = 5;
        config.clocks.second_reminder_s = 10;
        config.clocks.put_back_s = 10;
    };
    for shop in Shop::all_with(quick).await {
        let silent = shop.placed("N1", &[1]).await;
        shop.pass(SignedDuration::from_secs(5));
        shop.run_due().await;
        assert_eq!(shop.get(&silent.id).await.end_reason, "TIMED_OUT");
        let work = shop.ready("N1", &[1]).await;
        let kept = shop.get(&work.id).await.keep_until_time.unwrap().seconds;
        assert_eq!(kept - shop.now().as_second(), 20);
        shop.pass(SignedDuration::from_secs(5));
        shop.run_due().await;
        assert_eq!(shop.notices(&work.id).await, ["PICKUP_READY", "PICKUP_REMINDER_1"]);
        shop.pass(SignedDuration::from_secs(15));
        shop.run_due().await;
        assert!(shop.get(&work.id).await.is_expired);
        shop.pass(SignedDuration::from_secs(10));
        shop.run_due().await;
        assert_eq!(shop.get(&work.id).await.end_reason, "EXPIRED");
    }
}

#[tokio::test]
async fn a_clock_that_runs_keeps_its_reminders_when_the_settings_change() {
    for shop in Shop::all_with(|config| config.clocks.first_reminder_s = 5).await {
        let work = shop.ready("N1", &[1]).await;
        let slower = shop.restarted(|config| config.clocks.first_reminder_s = 3_600).await.unwrap();
        slower.pass(SignedDuration::from_secs(5));
        slower.run_due().await;
        assert_eq!(slower.notices(&work.id).await, ["PICKUP_READY", "PICKUP_REMINDER_1"]);
        let due = slower.next_due().await.unwrap();
        assert!(due > slower.now(), "{due} is over and nothing was done");
    }
}

#[tokio::test]
async fn warnings_and_reminders_do_not_count_as_endings() {
    let quick = |config: &mut fulfillment::Config| {
        config.clocks.keep_s = 20;
        config.clocks.first_reminder_s = 5;
        config.clocks.put_back_s = 10;
    };
    for shop in Shop::all_with(quick).await {
        let ends = async |seconds| {
            let then = shop.now() + SignedDuration::from_secs(seconds);
            shop.service.overdue(then, 9).await.unwrap()
        };
        shop.ready("N1", &[1]).await;
        assert_eq!((ends(6).await, ends(21).await), (0, 1), "a reminder, and the end of the keep time");
        shop.pass(SignedDuration::from_secs(20));
        while shop.run_due().await > 0 {}
        assert_eq!((ends(9).await, ends(11).await), (0, 1), "the put-back");
        shop.pass(SignedDuration::from_secs(10));
        while shop.run_due().await > 0 {}
        assert_eq!(ends(3_600).await, 0);
        let offer = shop.placed("N1", &[1]).await;
        let due = shop.next_due().await.unwrap();
        let (risk, span) = (due, shop.now().duration_until(due));
        assert_eq!(shop.service.overdue(risk, 9).await.unwrap(), 0, "the offer is at risk");
        assert_eq!(ends(span.as_secs() * 2).await, 1, "it times out, also when nobody has warned yet");
        assert_eq!(shop.get(&offer.id).await.end_reason, "");
    }
}

/// The clocks that run for all orders of a shop, in the order of their names.
async fn running(shop: &Shop) -> Vec<String> {
    let rows = shop.rows("SELECT step FROM fulfillment_clocks WHERE next_at IS NOT NULL").await;
    let mut steps: Vec<String> = rows.iter().map(|row| row.get("step").unwrap()).collect();
    steps.sort();
    steps
}

#[tokio::test]
async fn every_clock_that_runs_is_a_row_and_no_other_is() {
    for shop in Shop::all().await {
        let (work, store) = (shop.placed("N1", &[2]).await, shop.store("N1"));
        assert_eq!(running(&shop).await, ["ACCEPT"]);
        store.accept(&work.id).await.unwrap();
        assert_eq!(running(&shop).await, ["PREPARE"]);
        store.start(&work.id).await.unwrap();
        store.pick(&work.id, &[(1, 2, 0)]).await.unwrap();
        shop.cancel(&work, 1, &[(1, 1)]).await;
        assert_eq!(running(&shop).await, ["PREPARE", "PUT_BACK"], "two clocks of one order");
        store.ready(&work.id).await.unwrap();
        store.put_back(&work.id).await.unwrap();
        assert_eq!(running(&shop).await, ["COLLECT"]);
        shop.pass(SignedDuration::from_hours(73));
        while shop.run_due().await > 0 {}
        assert_eq!(running(&shop).await, ["PUT_BACK"], "the goods may still be collected");
        let kept = shop.get(&work.id).await;
        assert!(kept.is_expired && kept.keep_until_time.is_some());
        let code = shop.issue_code(&work.id).await.unwrap();
        store.hand_over(&work.id, &code, &[]).await.unwrap();
        assert_eq!(running(&shop).await, [""; 0]);
        assert_eq!(shop.count("SELECT COUNT(*) AS n FROM fulfillment_clocks").await, 0);
    }
}

#[tokio::test]
async fn what_is_due_is_found_without_reading_the_orders_that_wait() {
    for shop in Shop::all().await {
        for _ in 0..40 {
            shop.placed("N1", &[1]).await;
        }
        shop.db.watch_plans();
        assert_eq!(shop.run_due().await, 0);
        assert!(shop.next_due().await.is_some());
        assert_eq!(shop.service.overdue(shop.now(), 9).await.unwrap(), 0);
        let plans = shop.db.plans();
        assert!(!plans.is_empty());
        // Nodes that are new to the policies are read, however many orders wait.
        for plan in plans.iter().filter(|plan| !plan.sql.contains("FROM policy_nodes")) {
            assert_eq!(plan.whole_read(), None, "{plan:?}");
            assert!(plan.rows_read() <= 2, "{plan:?}");
        }
    }
}

/// Goods that are ready at DAY (09:00 to 21:00 UTC) on 23 December at 15:00; it is shut from the 24th to the 27th.
async fn ready_before_the_holidays(shop: &Shop) -> String {
    let closed =
        |day| pb::HoursException { date: Some(Date { year: 2023, month: 12, day }), ..Default::default() };
    let day = pb::Node { exceptions: (24..=27).map(closed).collect(), ..node("DAY", "UTC", 9, 21) };
    let request = pb::PutNodesRequest { request_id: fresh(), nodes: vec![day] };
    shop.network().put_nodes(by("ops/1", request)).await.unwrap();
    shop.clock.advance_to(at("2023-12-23T15:00:00Z"));
    shop.ready("DAY", &[1]).await.id
}

/// Lets what is due until then happen at its time.
async fn live_until(shop: &Shop, then: &str) {
    while let Some(due) = shop.next_due().await.filter(|due| *due <= at(then)) {
        shop.clock.advance_to(due);
        shop.run_due().await;
    }
    shop.clock.advance_to(at(then));
}

#[tokio::test]
async fn goods_are_kept_until_four_hours_after_the_holidays_and_put_back_while_the_node_is_open() {
    for shop in Shop::all().await {
        let id = ready_before_the_holidays(&shop).await;
        let kept = at("2023-12-28T13:00:00Z");
        assert_eq!(shop.get(&id).await.keep_until_time, Some(stamp(kept)));
        live_until(&shop, "2023-12-28T12:59:59Z").await;
        assert!(!shop.get(&id).await.is_expired, "the customer still may come");
        assert_eq!(shop.notices(&id).await, ["PICKUP_READY", "PICKUP_REMINDER_1", "PICKUP_REMINDER_2"]);
        // The next day is a holiday of its own: the goods are put back on the day after it.
        let closing = pb::TemporaryClosing {
            from_time: Some(stamp(at("2023-12-28T21:00:00Z"))),
            until_time: Some(stamp(at("2023-12-30T00:00:00Z"))),
            reason: "stock-taking".to_owned(),
        };
        let request =
            pb::CloseNodeRequest { request_id: fresh(), node_id: "DAY".to_owned(), closing: Some(closing) };
        shop.network().close_node(by("store/DAY", request)).await.unwrap();
        live_until(&shop, "2023-12-28T13:00:00Z").await;
        assert!(shop.get(&id).await.is_expired);
        live_until(&shop, "2023-12-30T12:59:59Z").await;
        assert_eq!(shop.get(&id).await.end_reason, "", "nobody puts goods back behind a locked door");
        live_until(&shop, "2023-12-30T13:00:00Z").await;
        assert_eq!(shop.get(&id).await.end_reason, "EXPIRED");
    }
}

#[tokio::test]
async fn a_closing_that_comes_after_the_goods_were_ready_moves_the_end_and_the_stream_shows_it() {
    for shop in Shop::all().await {
        shop.clock.advance_to(at("2023-12-12T15:00:00Z"));
        let id = shop.ready("DAY", &[1]).await.id;
        assert_eq!(shop.get(&id).await.keep_until_time, Some(stamp(at("2023-12-15T15:00:00Z"))));
        let closing = pb::TemporaryClosing {
            from_time: Some(stamp(at("2023-12-15T10:00:00Z"))),
            until_time: Some(stamp(at("2023-12-16T19:00:00Z"))),
            reason: "storm".to_owned(),
        };
        let request =
            pb::CloseNodeRequest { request_id: fresh(), node_id: "DAY".to_owned(), closing: Some(closing) };
        shop.network().close_node(by("store/DAY", request)).await.unwrap();
        live_until(&shop, "2023-12-15T14:59:59Z").await;
        let items = "SELECT COUNT(*) AS n FROM work_feed";
        let shown = shop.count(items).await;
        live_until(&shop, "2023-12-15T15:00:00Z").await;
        let work = shop.get(&id).await;
        // Two hours of the 16th and two of the 17th.
        assert_eq!((work.is_expired, work.keep_until_time), (false, Some(stamp(at("2023-12-17T11:00:00Z")))));
        assert_eq!(shop.count(items).await, shown + 1, "the store's stream shows the new end");
        live_until(&shop, "2023-12-17T10:59:59Z").await;
        assert!(!shop.get(&id).await.is_expired);
        live_until(&shop, "2023-12-17T11:00:00Z").await;
        assert!(shop.get(&id).await.is_expired);
    }
}

#[tokio::test]
async fn an_end_stays_where_the_settings_leave_no_opening_time() {
    for shop in Shop::all_with(|config| config.clocks.min_open_s = 0).await {
        let id = ready_before_the_holidays(&shop).await;
        assert_eq!(shop.get(&id).await.keep_until_time, Some(stamp(at("2023-12-26T15:00:00Z"))));
    }
}

#[tokio::test]
async fn a_pop_up_node_keeps_goods_until_its_last_closing_and_then_puts_them_back() {
    for shop in Shop::all().await {
        let last_day = Some(Date { year: 2023, month: 12, day: 13 });
        let request = pb::PutNodesRequest {
            request_id: fresh(),
            nodes: vec![pb::Node { last_day, ..node("DAY", "UTC", 9, 21) }],
        };
        shop.network().put_nodes(by("ops/1", request)).await.unwrap();
        shop.clock.advance_to(at("2023-12-12T15:00:00Z"));
        let id = shop.ready("DAY", &[1]).await.id;
        let last = "2023-12-13T21:00:00Z";
        assert_eq!(shop.get(&id).await.keep_until_time, Some(stamp(at(last))));
        live_until(&shop, "2023-12-13T20:59:59Z").await;
        assert!(!shop.get(&id).await.is_expired);
        live_until(&shop, last).await;
        let work = shop.get(&id).await;
        assert_eq!((work.is_expired, work.end_reason.as_str()), (true, ""), "staff still clear the place");
    }
}
