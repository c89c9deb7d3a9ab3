//! A duplicate request is answered when the first one is durable, not before: with shared commits both may wait for one.

use std::future::Future;
use std::time::Duration;

use contract::fulfillment::v1 as pb;
use test_world::{by, fresh, v7};
use tokio::task::JoinHandle;

use crate::work_world::Shop;

/// How often a machine that is busy may be asked again.
const TRIES: usize = 50;

/// The same request twice, and a third transaction that stands between both and their commit. False: the machine was so
/// slow that the commit came before the third, which shows nothing.
async fn is_answered_only_after_the_commit<T: std::fmt::Debug + PartialEq + Send + 'static>(
    shop: &Shop,
    call: impl Fn() -> std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
) -> bool {
    let db = shop.db.db();
    let mark = v7();
    let mut before = db.begin().await.unwrap();
    let sql =
        "INSERT INTO inbox (scope, request_id, body_hash, reply, claimed_at) VALUES ('mark', $1, $2, $2, 0)";
    before.execute(sql, db::params![mark, Vec::<u8>::new()]).await.unwrap();
    let calls: Vec<JoinHandle<T>> = (0..2).map(|_| tokio::spawn(call())).collect();
    queued().await;
    let writer = shop.db.db();
    let last = tokio::spawn(async move { writer.begin().await.unwrap() });
    queued().await;
    // It waits for the same commit.
    let before = tokio::spawn(before.commit());
    let last = last.await.unwrap();
    let mut answers = Vec::new();
    let mut waiting = Vec::new();
    for mut call in calls {
        match tokio::time::timeout(Duration::from_millis(200), &mut call).await {
            Ok(answer) => answers.push(answer.unwrap()),
            Err(_) => waiting.push(call),
        }
    }
    let mut reader = db.read().await.unwrap();
    let marks = reader.fetch_all("SELECT 1 AS one FROM inbox WHERE request_id = $1", db::params![mark]).await;
    let is_committed = !marks.unwrap().is_empty();
    drop(reader);
    assert!(is_committed || answers.is_empty(), "answered before the commit that both share: {answers:?}");
    last.commit().await.unwrap();
    before.await.unwrap().unwrap();
    for call in waiting {
        answers.push(call.await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
    !is_committed
}

/// Everything that was spawned waits for the writer.
async fn queued() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_after_the_commit_of_the_first() {
    for shop in Shop::all().await.into_iter().filter(|shop| shop.db.db().engine() == db::Engine::Sqlite) {
        let mut shown = [false; 3];
        for _ in 0..TRIES {
            let round = duplicates(&shop).await;
            shown.iter_mut().zip(round).for_each(|(shown, now)| *shown |= now);
            if shown == [true; 3] {
                break;
            }
        }
        assert_eq!(shown, [true; 3], "each kind of call waited for its commit once");
    }
}

/// Which kinds of calls were shown to wait.
async fn duplicates(shop: &Shop) -> [bool; 3] {
    let work = shop.placed("N1", &[1]).await;
    let (client, request_id) = (shop.client(), fresh());
    let accept = || -> std::pin::Pin<Box<dyn Future<Output = i64> + Send>> {
        let request =
            pb::AcceptWorkRequest { request_id: request_id.clone(), fulfillment_id: work.id.clone() };
        let (mut client, request) = (client.clone(), by("store/N1", request));
        Box::pin(async move {
            client.accept_work(request).await.unwrap().into_inner().fulfillment_order.unwrap().version
        })
    };
    let accepted = is_answered_only_after_the_commit(shop, accept).await;

    let ready = shop.ready("N1", &[1]).await;
    shop.issue_code(&ready.id).await.unwrap();
    let request_id = fresh();
    let wrong = || -> std::pin::Pin<Box<dyn Future<Output = String> + Send>> {
        let request = pb::HandOverRequest {
            request_id: request_id.clone(),
            fulfillment_id: ready.id.clone(),
            code: "00000000".to_owned(),
            collector: pb::CollectorKind::Buyer.into(),
            ..Default::default()
        };
        let (mut client, request) = (client.clone(), by("store/N1", request));
        Box::pin(async move { client.hand_over(request).await.unwrap_err().message().to_owned() })
    };
    let refused = is_answered_only_after_the_commit(shop, wrong).await;

    let network = shop.network();
    let request_id = fresh();
    let reopen = || -> std::pin::Pin<Box<dyn Future<Output = String> + Send>> {
        let request = pb::ReopenNodeRequest { request_id: request_id.clone(), node_id: "N1".to_owned() };
        let (mut network, request) = (network.clone(), by("ops/1", request));
        Box::pin(async move { network.reopen_node(request).await.unwrap().into_inner().node.unwrap().etag })
    };
    let reopened = is_answered_only_after_the_commit(shop, reopen).await;
    [accepted, refused, reopened]
}
