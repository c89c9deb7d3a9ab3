//! A duplicate request is answered when the first one is durable, not before: with shared commits both may wait for one.

use std::future::Future;
use std::time::Duration;

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::network_service_client::NetworkServiceClient;
use contract::fulfillment::v1::network_service_server::NetworkServiceServer;
use tokio::task::JoinHandle;

use crate::work_world::{Shop, id};

/// The same request twice, and a third transaction that stands between both and their commit.
async fn is_answered_only_after_the_commit<T: std::fmt::Debug + PartialEq + Send + 'static>(
    shop: &Shop,
    call: impl Fn() -> std::pin::Pin<Box<dyn Future<Output = T> + Send>>,
) {
    let db = shop.db();
    let before = db.begin().await.unwrap();
    let calls: Vec<JoinHandle<T>> = (0..2).map(|_| tokio::spawn(call())).collect();
    queued().await;
    let last = tokio::spawn(async move { db.begin().await.unwrap() });
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
    assert_eq!(answers, [], "answered before the commit that both share");
    last.commit().await.unwrap();
    before.await.unwrap().unwrap();
    for call in waiting {
        answers.push(call.await.unwrap());
    }
    assert_eq!(answers[0], answers[1]);
}

/// Everything that was spawned waits for the writer.
async fn queued() {
    for _ in 0..200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_duplicate_is_answered_after_the_commit_of_the_first() {
    for shop in Shop::all().await.into_iter().filter(|shop| shop.db().engine() == db::Engine::Sqlite) {
        let work = shop.placed("N1", &[1]).await;
        let (client, request_id) = (shop.client(), id());
        let accept = || -> std::pin::Pin<Box<dyn Future<Output = i64> + Send>> {
            let request =
                pb::AcceptWorkRequest { request_id: request_id.clone(), fulfillment_id: work.id.clone() };
            let (mut client, request) = (client.clone(), shop.by("store/N1", request));
            Box::pin(async move {
                client.accept_work(request).await.unwrap().into_inner().fulfillment_order.unwrap().version
            })
        };
        is_answered_only_after_the_commit(&shop, accept).await;

        let ready = shop.ready("N1", &[1]).await;
        shop.issue_code(&ready.order).await.unwrap();
        let request_id = id();
        let wrong = || -> std::pin::Pin<Box<dyn Future<Output = String> + Send>> {
            let request = pb::HandOverRequest {
                request_id: request_id.clone(),
                fulfillment_id: ready.id.clone(),
                code: "00000000".to_owned(),
                collector: pb::CollectorKind::Buyer.into(),
                ..Default::default()
            };
            let (mut client, request) = (client.clone(), shop.by("store/N1", request));
            Box::pin(async move { client.hand_over(request).await.unwrap_err().message().to_owned() })
        };
        is_answered_only_after_the_commit(&shop, wrong).await;

        let network =
            NetworkServiceClient::new(server::peer::local(NetworkServiceServer::from_arc(shop.service())));
        let request_id = id();
        let reopen = || -> std::pin::Pin<Box<dyn Future<Output = String> + Send>> {
            let request = pb::ReopenNodeRequest { request_id: request_id.clone(), node_id: "N1".to_owned() };
            let (mut network, request) = (network.clone(), shop.by("ops/1", request));
            Box::pin(
                async move { network.reopen_node(request).await.unwrap().into_inner().node.unwrap().etag },
            )
        };
        is_answered_only_after_the_commit(&shop, reopen).await;
    }
}
