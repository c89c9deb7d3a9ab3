//! Work goes by the CLOCKS policies that are in force when its clocks start, and keeps what it was started with.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body;
use contract::fulfillment::v1::policy_service_client::PolicyServiceClient;
use domain::id::OrderId;
use jiff::SignedDuration;
use server::{Peer, Principal};
use test_world::{Staff, by, fresh, minutes, stamp, v7};

use crate::policies::{at_node, of_channel};
use crate::react::{deliver, placed};
use crate::support::{cart, hold, option, store, worlds};
use crate::work_world::{Shop, Work};

/// A version is put and activated; answers its number.
async fn put_in_force(peer: Peer, scope: pb::PolicyScope, clocks: &pb::ClocksPolicy) -> i64 {
    let mut client = PolicyServiceClient::new(peer);
    let (scope, body) = (Some(scope), Some(Body::Clocks(*clocks)));
    let policy = pb::Policy { scope, body, reason: "a trial".to_owned(), ..pb::Policy::default() };
    let put = pb::PutPolicyRequest { request_id: fresh(), policy: Some(policy) };
    let put = client.put_policy(by("ops/1", put)).await.unwrap().into_inner().policy.unwrap();
    let policy_id = put.policy_id;
    let activate =
        pb::ActivatePolicyRequest { request_id: fresh(), policy_id, from_time: None, until_time: None };
    client.activate_policy(by("ops/1", activate)).await.unwrap();
    put.version
}

async fn roll_back(peer: Peer, scope: pb::PolicyScope) {
    let request = pb::RollBackPolicyRequest {
        request_id: fresh(),
        kind: pb::PolicyKind::Clocks.into(),
        scope: Some(scope),
        reason: "the trial is over".to_owned(),
    };
    PolicyServiceClient::new(peer).roll_back_policy(by("ops/1", request)).await.unwrap();
}

/// In how many minutes an offer must be accepted, and which version says so.
async fn offered(shop: &Shop, work: &Work) -> (i64, i64) {
    let order = shop.get(&work.id).await;
    let seconds = order.accept_due_time.unwrap().seconds - order.offer_time.unwrap().seconds;
    (seconds / 60, order.policy_version)
}

/// The version in the one row of the clocks of an order.
async fn stored(shop: &Shop, sql: &'static str) -> Vec<i64> {
    shop.rows(sql).await.iter().map(|row| row.get("policy_version").unwrap()).collect()
}

#[tokio::test]
async fn a_version_for_a_node_shortens_offers_made_from_then_on_and_a_roll_back_lengthens_them_again() {
    for shop in Shop::all().await {
        let before = shop.placed("N1", &[1]).await;
        let five = pb::ClocksPolicy { accept: Some(minutes(5)), ..Default::default() };
        let version = put_in_force(shop.peer(), at_node("N1"), &five).await;
        assert!(version > 0);
        let (quick, elsewhere) = (shop.placed("N1", &[1]).await, shop.placed("N2", &[1]).await);
        assert_eq!(offered(&shop, &before).await, (15, 0), "its clock runs");
        assert_eq!(offered(&shop, &quick).await, (5, version));
        assert_eq!(offered(&shop, &elsewhere).await, (15, 0));
        let rows = "SELECT policy_version FROM fulfillment_clocks ORDER BY policy_version";
        assert_eq!(stored(&shop, rows).await, [0, 0, version]);

        roll_back(shop.peer(), at_node("N1")).await;
        let after = shop.placed("N1", &[1]).await;
        assert_eq!(offered(&shop, &after).await, (15, 0));
        assert_eq!(offered(&shop, &quick).await, (5, version), "its clock runs");
        shop.pass(SignedDuration::from_mins(5));
        shop.run_due().await;
        assert_eq!(shop.get(&quick.id).await.end_reason, "TIMED_OUT");
        assert_eq!(shop.get(&before.id).await.end_reason, "");
    }
}

#[tokio::test]
async fn goods_that_wait_keep_their_end_and_their_reminders_when_another_version_comes_into_force() {
    for shop in Shop::all().await {
        let day = pb::ClocksPolicy {
            keep: Some(minutes(24 * 60)),
            first_reminder: Some(minutes(60)),
            ..Default::default()
        };
        let first = put_in_force(shop.peer(), of_channel("web"), &day).await;
        let work = shop.ready("N1", &[1]).await;
        let hour = pb::ClocksPolicy { keep: Some(minutes(60)), ..Default::default() };
        let second = put_in_force(shop.peer(), of_channel("web"), &hour).await;
        let order = shop.get(&work.id).await;
        let end = shop.now() + SignedDuration::from_hours(24);
        assert_eq!((order.keep_until_time, order.policy_version), (Some(stamp(end)), first));
        shop.pass(SignedDuration::from_mins(60));
        shop.run_due().await;
        assert_eq!(shop.notices(&work.id).await, ["PICKUP_READY", "PICKUP_REMINDER_1"]);
        // The settings remind after 24 and 60 hours: the goods are not kept that long.
        let quick = shop.ready("N1", &[1]).await;
        assert_eq!(shop.get(&quick.id).await.policy_version, second);
        shop.pass(SignedDuration::from_mins(60));
        while shop.run_due().await > 0 {}
        assert!(shop.get(&quick.id).await.is_expired);
        assert_eq!(shop.notices(&quick.id).await, ["PICKUP_READY", "PICKUP_EXPIRED"]);
        assert!(!shop.get(&work.id).await.is_expired);
    }
}

#[tokio::test]
async fn another_process_starts_clocks_by_the_same_version() {
    for shop in Shop::all().await {
        let other = shop.another().await;
        let two =
            pb::ClocksPolicy { accept: Some(minutes(2)), at_risk_percent: Some(50), ..Default::default() };
        let version = put_in_force(shop.peer(), at_node("N1"), &two).await;
        other.service.policies().refresh().await.unwrap();
        let work = other.placed("N1", &[1]).await;
        assert_eq!(offered(&shop, &work).await, (2, version));
        shop.pass(SignedDuration::from_secs(59));
        shop.run_due().await;
        assert!(!shop.get(&work.id).await.is_at_risk);
        shop.pass(SignedDuration::from_secs(1));
        shop.run_due().await;
        assert!(shop.get(&work.id).await.is_at_risk, "half of its time is used");
    }
}

#[tokio::test]
async fn a_promise_and_the_clock_of_its_goods_agree_on_how_long_they_are_kept() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        world.stock(&[("lon-1", "A", 9), ("lon-2", "A", 9)]).await;
        let three = pb::ClocksPolicy { keep: Some(minutes(180)), ..Default::default() };
        let version = put_in_force(world.peer(), at_node("lon-1"), &three).await;
        let quote = async |node: &str| {
            let request = pb::GetPromiseRequest {
                lines: cart(&[("A", 1)]),
                node_id: node.to_owned(),
                methods: vec![contract::r#type::v1::Method::Pickup.into()],
                ..Default::default()
            };
            let answer = world.promises().get_promise(by("channel/web", request)).await.unwrap();
            answer.into_inner().options[0].window.unwrap()
        };
        let hours = |window: contract::r#type::v1::Window| {
            (window.end_time.unwrap().seconds - window.start_time.unwrap().seconds) / 3_600
        };
        assert_eq!((hours(quote("lon-1").await), hours(quote("lon-2").await)), (3, 72));
        let held = world.promises().hold_promise(by("channel/web", hold("lon-1", &[("A", 1)]))).await;
        let promise = held.unwrap().into_inner().promise.unwrap();
        let window = option(&promise).window.unwrap();
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        let id = promise.legs[0].fulfillment_id.clone();
        let peer = server::peer::acting(world.peer(), &Principal::new("store", "lon-1"));
        let client = contract::fulfillment::v1::work_service_client::WorkServiceClient::new(peer);
        let staff = Staff { client, node: "lon-1".to_owned() };
        staff.accept(&id).await.unwrap();
        staff.start(&id).await.unwrap();
        staff.pick(&id, &[(1, 3, 0)]).await.unwrap();
        let start = window.start_time.unwrap();
        world.clock.advance_to(jiff::Timestamp::from_second(start.seconds).unwrap());
        let ready = staff.ready(&id).await.unwrap();
        assert_eq!(ready.keep_until_time, window.end_time, "as it was promised");
        assert_eq!(ready.policy_version, version);
    }
}
