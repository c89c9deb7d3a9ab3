//! Writers of several kinds and processes: dense numbers, woken watchers.

use std::sync::Arc;

use bus::{Bus, Topic};
use service::Fault;
use tokio_util::sync::CancellationToken;

use crate::world::{Host, heard, node, room};

#[tokio::test]
async fn writers_of_two_kinds_share_one_numbering() {
    for host in Host::all().await {
        let (host, n1) = (Arc::new(host), node("N1"));
        host.chores(&n1, 1..2).await;
        let mut reader = host.watch(&n1, "").await;
        reader.rest().await;
        let chores = {
            let (host, n1) = (Arc::clone(&host), n1.clone());
            tokio::spawn(async move {
                for id in 100..120 {
                    host.chores(&n1, id..=id).await;
                }
            })
        };
        for id in 200..220 {
            host.heard(&n1, id, "announced").await;
        }
        chores.await.unwrap();
        for seq in 2..42 {
            assert_eq!(reader.next().await.unwrap().0, seq);
        }
    }
}

#[tokio::test]
async fn a_change_that_is_rolled_back_takes_no_number() {
    for host in Host::all().await {
        let n1 = node("N1");
        let mut tx = host.db.begin().await.unwrap();
        heard(&mut tx, &n1, 7, "announced").await;
        drop(tx);
        host.heard(&n1, 8, "announced").await;
        assert_eq!(host.watch(&n1, "").await.rest().await, [(1, "return 8 announced".to_owned())]);
    }
}

#[tokio::test]
async fn a_watcher_of_another_process_sees_the_change() {
    for host in Host::all().await {
        let n1 = node("N1");
        let other = Arc::new(room(host.db.reopen().await));
        let (stop, bus) = (CancellationToken::new(), Bus::local(clock::Clock::system()));
        let follow = {
            let (other, stop, events) =
                (Arc::clone(&other), stop.clone(), bus.subscribe(&[Topic::Fulfillment]));
            tokio::spawn(async move { other.follow(stop, events, |_| None).await })
        };
        let mut reader = Box::pin(other.watch(n1.clone(), None).await.unwrap());
        let next = async |reader: &mut std::pin::Pin<Box<_>>| {
            let message = futures_util::StreamExt::next(reader).await;
            message.map(|message: Result<work_feed::Message<String>, Fault>| message.unwrap().item)
        };
        assert!(next(&mut reader).await.unwrap().is_none(), "nothing is open");
        host.heard(&n1, 7, "announced").await;
        assert_eq!(next(&mut reader).await.unwrap().unwrap().work, "return 7 announced");
        stop.cancel();
        follow.await.unwrap();
    }
}

#[tokio::test]
async fn watchers_are_limited_and_leave_their_places() {
    for host in Host::all().await {
        let mut readers = Vec::new();
        for _ in 0..8 {
            readers.push(host.watch(&node("N1"), "").await);
        }
        let refused = host.room.watch(node("N1"), None).await;
        assert!(matches!(refused.map(|_| ()), Err(Fault::TooManyStreams)));
        readers.pop();
        assert_eq!(host.room.watchers(), 7);
        host.watch(&node("N1"), "").await;
    }
}
