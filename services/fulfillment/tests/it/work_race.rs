//! Stores, channels and events at once.

use std::sync::Arc;

use bus::Consumer as _;
use contract::fulfillment::v1::FulfillmentState as State;
use futures_util::future::join_all;
use test_world::reason;
use tokio_util::sync::CancellationToken;

use crate::work_world::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_of_events_and_busy_stores_do_not_stand_in_each_others_way() {
    for shop in Shop::all_patient().await {
        let mut begun = Vec::new();
        for n in 0..24 {
            begun.push(shop.placed(["N1", "N2"][n % 2], &[2]).await);
        }
        // Each batch offers new work and cancels begun work of the same nodes in one transaction, as the bus does,
        // while the stores accept just that work.
        let batches = async {
            for pair in begun.chunks(2) {
                let fresh: Vec<_> = ["N1", "N2"].map(|node| shop.plan(node, &[1])).into();
                let mut events: Vec<_> = fresh.iter().map(|work| shop.released(work)).collect();
                events.extend(pair.iter().map(|work| shop.cancelling(work, 1, &[(1, 1)])));
                assert!(shop.try_batch(&events).await, "a store was in the way");
            }
        };
        let stores = join_all(begun.iter().map(|work| {
            let store = shop.store(&work.node);
            async move {
                store.accept(&work.id).await.unwrap();
                store.start(&work.id).await.unwrap();
            }
        }));
        tokio::join!(batches, stores);
        for work in &begun {
            let order = shop.get(&work.id).await;
            assert_eq!((order.state(), order.lines[0].cancelled, order.version), (State::Picking, 1, 4));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn batches_of_two_processes_never_wait_for_each_other_in_a_circle() {
    for shop in Shop::all_patient().await {
        let other = shop.another().await;
        for _ in 0..20 {
            let mut batches = [Vec::new(), Vec::new()];
            for (batch, nodes) in batches.iter_mut().zip([["N1", "N2", "DAY"], ["DAY", "N2", "N1"]]) {
                for node in nodes {
                    let begun = shop.placed(node, &[2]).await;
                    batch.push(shop.cancelling(&begun, 1, &[(1, 1)]));
                    batch.push(shop.released(&shop.plan(node, &[1])));
                }
            }
            let [one, two] = &batches;
            let went = tokio::join!(shop.try_batch(one), other.try_batch(two));
            assert_eq!(went, (true, true), "somebody was in the way");
        }
    }
}

#[tokio::test]
async fn each_event_of_a_batch_keeps_its_trace() {
    for shop in Shop::all().await {
        let (a, b, begun) = (shop.plan("N1", &[1]), shop.plan("N1", &[1]), shop.placed("N1", &[1]).await);
        let again = shop.placed("N1", &[1]).await;
        shop.batch(&[shop.payment_lost(&again, 2)]).await;
        let paid_again = shop.unblocked(&again, 3);
        let cancelling = shop.cancelling(&begun, 1, &[(1, 1)]);
        let mut events = [shop.released(&a), shop.released(&b), cancelling, paid_again];
        for (nth, event) in events.iter_mut().enumerate() {
            event.traceparent = Some(format!("00-trace-{nth}-01"));
        }
        shop.batch(&events).await;
        for (nth, work) in [a, b, begun, again].iter().enumerate() {
            let last = shop.events(&work.id).await.pop().unwrap();
            assert_eq!(last.trace, Some(format!("00-trace-{nth}-01")), "{}", last.event_type);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn accept_cancel_and_time_out_at_once_have_one_winner() {
    for shop in Shop::all().await {
        for _ in 0..10 {
            let work = shop.placed("N1", &[1]).await;
            shop.pass(jiff::SignedDuration::from_mins(15));
            let store = shop.store("N1");
            let (accepted, (), _) =
                tokio::join!(store.accept(&work.id), shop.cancel(&work, 1, &[(1, 1)]), shop.run_due());
            let order = shop.get(&work.id).await;
            let events = shop.events(&work.id).await;
            assert_eq!(i64::try_from(events.len()).unwrap(), order.version, "versions are dense");
            assert!(matches!(order.state(), State::TimedOut | State::Cancelled), "{:?}", order.state());
            if let Err(refused) = accepted {
                assert_eq!(reason(&refused), "WRONG_STATE");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_feed_of_a_busy_node_shows_every_change_in_order() {
    for shop in Shop::all().await {
        let mut stream = shop.watch("N1", "").await;
        assert!(stream.next().await.item.is_none());
        let changes = join_all((0..30).map(|_| async {
            let work = shop.placed("N1", &[1]).await;
            shop.store("N1").accept(&work.id).await.unwrap();
        }));
        let reader = async {
            let mut last = 0;
            while last < 60 {
                if let Some(item) = stream.next().await.item {
                    assert_eq!(item.feed_sequence, last + 1);
                    last += 1;
                }
            }
        };
        tokio::join!(changes, reader);
    }
}

#[tokio::test]
async fn a_commit_of_another_process_reaches_the_stream() {
    for shop in Shop::all().await {
        let other = shop.another().await;
        let stop = CancellationToken::new();
        let bus = bus::Bus::local(clock::Clock::system());
        let follower = &other.service;
        let subscription = bus.subscribe(&[bus::Topic::Fulfillment]);
        let following = tokio::spawn({
            let (follower, stop) = (Arc::clone(follower), stop.clone());
            async move { follower.follow_work(stop, subscription).await }
        });
        let mut stream = other.watch("N1", "").await;
        assert!(stream.next().await.item.is_none());
        let work = shop.placed("N1", &[1]).await;
        let item = stream.next().await.item.unwrap();
        assert_eq!(item.fulfillment_order.unwrap().fulfillment_id, work.id);
        assert_eq!(follower.group(), "fulfillment");
        stop.cancel();
        following.await.unwrap();
    }
}
