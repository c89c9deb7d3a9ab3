//! Nodes that let offers run out one after another get no promises, until they answer or some time has passed.

use std::sync::Arc;

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use domain::id::OrderId;
use fulfillment::{Config, Fulfillment, WorkConfig};
use jiff::SignedDuration;
use server::Peer;
use test_world::{Staff, by, fresh, minutes, reason, stamp, until, v7};
use tokio_util::sync::CancellationToken;

use crate::policies::at_node;
use crate::promise_policies::put;
use crate::react::{deliver, leg, placed};
use crate::support::{World, cart, hold, promises, store, worlds};

const NODE: &str = "lon-1";

/// Two stores that have the goods.
async fn stores() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store(NODE, 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[(NODE, "A", 100), ("lon-2", "A", 100)]).await;
    }
    worlds
}

async fn promise(service: &Arc<Fulfillment>, node: &str) -> Result<pb::Promise, String> {
    let answer = promises(service).hold_promise(by("service/orders", hold(node, &[("A", 3)]))).await;
    answer.map(|answer| answer.into_inner().promise.unwrap()).map_err(|no| reason(&no))
}

impl World {
    /// An offer of the first store.
    async fn offer(&self) -> String {
        let promise = promise(&self.service, NODE).await.unwrap();
        deliver(self, OrderId::new(v7()), placed(&promise, false)).await;
        leg(&promise)
    }

    /// An offer of the first store that nobody answers.
    async fn offer_in_vain(&self) {
        self.offer().await;
        self.run_out().await;
    }

    async fn run_out(&self) {
        self.pass(SignedDuration::from_mins(15));
        self.run_due().await;
    }

    fn clerk(&self) -> Staff<Peer> {
        let peer = server::peer::acting(self.peer(), &server::Principal::new("store", NODE));
        Staff { client: WorkServiceClient::new(peer), node: NODE.to_owned() }
    }

    async fn node(&self) -> pb::Node {
        let request = pb::GetNodeRequest { node_id: NODE.to_owned() };
        self.network().get_node(by("ops/1", request)).await.unwrap().into_inner().node.unwrap()
    }

    async fn silent_until(&self) -> Option<prost_types::Timestamp> {
        self.node().await.silent_until_time
    }
}

#[tokio::test]
async fn a_node_that_lets_three_offers_run_out_gets_no_promises_until_it_answers() {
    for world in stores().await {
        let early = promise(&world.service, NODE).await.unwrap();
        let follower = world.another().await;
        let stop = CancellationToken::new();
        let following = tokio::spawn({
            let (follower, stop) = (Arc::clone(&follower), stop.clone());
            async move { follower.follow_network(stop).await }
        });
        for _ in 0..2 {
            world.offer_in_vain().await;
            assert_eq!(world.silent_until().await, None);
        }
        world.offer_in_vain().await;
        let end = world.now() + SignedDuration::from_hours(4);
        assert_eq!(world.silent_until().await, Some(stamp(end)));
        assert_eq!(promise(&world.service, NODE).await, Err("NODE_SILENT".to_owned()));
        let elsewhere = promise(&world.service, "").await.unwrap();
        assert_eq!(elsewhere.legs[0].option.as_ref().unwrap().node_id, "lon-2");
        let ask = pb::GetPromiseRequest {
            lines: cart(&[("A", 1)]),
            node_id: NODE.to_owned(),
            ..Default::default()
        };
        let answer = world.promises().get_promise(by("customer/1", ask)).await.unwrap().into_inner();
        let reasons: Vec<_> = answer.refusals[0].reasons().collect();
        assert_eq!(reasons, [pb::ReasonCode::NodeSilent]);
        assert_eq!(answer.refusals[0].alternatives[0].node_id, "lon-2");

        // other processes learn of it, and of its end
        let until_heard = async |expected: bool| {
            until("another process knows of it", async || promise(&follower, NODE).await.is_ok() == expected)
                .await;
        };
        until_heard(false).await;
        assert_eq!(promise(&world.another().await, NODE).await, Err("NODE_SILENT".to_owned()));
        deliver(&world, OrderId::new(v7()), placed(&early, false)).await;
        world.clerk().accept(&leg(&early)).await.unwrap();
        assert_eq!(world.silent_until().await, None);
        promise(&world.service, NODE).await.unwrap();
        until_heard(true).await;
        let put =
            world.put(vec![pb::Node { silent_until_time: Some(stamp(end)), ..world.node().await }]).await;
        assert_eq!(put[0].silent_until_time, None, "nobody sets it");
        stop.cancel();
        following.await.unwrap();
    }
}

#[tokio::test]
async fn whatever_a_node_does_is_an_answer() {
    for world in stores().await {
        for n in 0..4 {
            world.offer_in_vain().await;
            world.offer_in_vain().await;
            let work = world.offer().await;
            if n % 2 == 0 {
                world.clerk().accept(&work).await.unwrap();
            } else {
                world.clerk().reject(&work, pb::RejectReason::TooBusy).await.unwrap();
            }
            assert_eq!(world.silent_until().await, None, "two in a row are no silence");
        }
        assert_eq!(world.count("SELECT run_out AS n FROM node_silence").await, 0);
        for _ in 0..3 {
            world.offer_in_vain().await;
        }
        assert_eq!(promise(&world.service, NODE).await, Err("NODE_SILENT".to_owned()));
        let reopen = pb::ReopenNodeRequest { request_id: fresh(), node_id: NODE.to_owned() };
        world.network().reopen_node(by(&format!("store/{NODE}"), reopen)).await.unwrap();
        promise(&world.service, NODE).await.unwrap();
    }
}

#[tokio::test]
async fn a_silence_ends_by_itself_and_one_more_offer_in_vain_begins_another() {
    for world in stores().await {
        for _ in 0..3 {
            world.offer_in_vain().await;
        }
        world.pass(SignedDuration::from_mins(239));
        assert_eq!(promise(&world.service, NODE).await, Err("NODE_SILENT".to_owned()));
        world.pass(SignedDuration::from_mins(1));
        assert_eq!(world.silent_until().await, None);
        world.offer_in_vain().await;
        let end = world.now() + SignedDuration::from_hours(4);
        assert_eq!(world.silent_until().await, Some(stamp(end)));
    }
}

#[tokio::test]
async fn a_deployment_may_bear_any_silence() {
    for world in stores().await {
        let work = WorkConfig { silent_after: 0, ..WorkConfig::default() };
        let world = world.with(Config { work, ..Config::default() }).await;
        for _ in 0..5 {
            world.offer_in_vain().await;
        }
        promise(&world.service, NODE).await.unwrap();
    }
}

#[tokio::test]
async fn a_policy_says_how_much_silence_of_a_node_is_borne() {
    for world in stores().await {
        let body =
            pb::SourcingPolicy { silent_after: Some(1), silent_for: Some(minutes(30)), ..Default::default() };
        put(&world, 3, at_node("lon-2"), Body::Sourcing(body), None).await;
        world.offer_in_vain().await;
        assert_eq!(world.silent_until().await, None, "it is about another node");
        put(&world, 4, at_node(NODE), Body::Sourcing(body), None).await;
        world.offer_in_vain().await;
        assert_eq!(world.silent_until().await, Some(stamp(world.now() + SignedDuration::from_mins(30))));
        assert_eq!(promise(&world.service, NODE).await, Err("NODE_SILENT".to_owned()));
    }
}
