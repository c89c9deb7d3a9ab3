//! The clocks of the work are settings: a trial of an expiry takes seconds.

use jiff::SignedDuration;

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
async fn a_clock_that_is_set_longer_is_looked_at_once_and_not_for_ever() {
    for shop in Shop::all_with(|config| config.clocks.first_reminder_s = 5).await {
        let work = shop.ready("N1", &[1]).await;
        let slower = shop.restarted(|config| config.clocks.first_reminder_s = 3_600).await.unwrap();
        slower.pass(SignedDuration::from_secs(5));
        slower.run_due().await;
        let due = slower.next_due().await.unwrap();
        assert!(due > slower.now(), "{due} is over and nothing was done");
        slower.pass(SignedDuration::from_secs(3_600));
        slower.run_due().await;
        assert_eq!(slower.notices(&work.id).await, ["PICKUP_READY", "PICKUP_REMINDER_1"]);
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
