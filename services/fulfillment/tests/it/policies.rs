//! Versions of policies: put, put in force, rolled back, listed, explained.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body as Event;
use contract::fulfillment::v1::policy::Body;
use contract::fulfillment::v1::policy_service_client::PolicyServiceClient;
use domain::policy::Span;
use jiff::{SignedDuration, Timestamp};
use policy::policies::{self, Stored};
use policy::wire;
use server::Peer;
use test_world::{by, fields, fresh, minutes, reason, refusal, stamp, v7};
use tonic::{Code, Status};

use crate::support::{World, store, worlds};

pub(crate) const BOSS: &str = "ops/boss";

pub(crate) fn everything() -> pb::PolicyScope {
    pb::PolicyScope::default()
}

pub(crate) fn at_node(node: &str) -> pb::PolicyScope {
    pb::PolicyScope { node_id: node.to_owned(), ..everything() }
}

pub(crate) fn of_channel(channel: &str) -> pb::PolicyScope {
    pb::PolicyScope { channel: channel.to_owned(), ..everything() }
}

/// How many minutes a node has to accept an offer.
pub(crate) fn accept(scope: pb::PolicyScope, length: i64) -> pb::Policy {
    let clocks = pb::ClocksPolicy { accept: Some(minutes(length)), ..Default::default() };
    let body = Some(Body::Clocks(clocks));
    pb::Policy { scope: Some(scope), reason: "a test".to_owned(), body, ..Default::default() }
}

pub(crate) fn client(peer: Peer) -> PolicyServiceClient<Peer> {
    PolicyServiceClient::new(peer)
}

impl World {
    pub(crate) async fn put_policy(&self, policy: pb::Policy) -> Result<pb::Policy, Status> {
        let request = pb::PutPolicyRequest { request_id: fresh(), policy: Some(policy) };
        let answer = client(self.peer()).put_policy(by(BOSS, request)).await?;
        Ok(answer.into_inner().policy.unwrap())
    }

    pub(crate) async fn activate(
        &self,
        policy: &pb::Policy,
        from: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<pb::Policy, Status> {
        let request = pb::ActivatePolicyRequest {
            request_id: fresh(),
            policy_id: policy.policy_id.clone(),
            from_time: from.map(stamp),
            until_time: until.map(stamp),
        };
        let answer = client(self.peer()).activate_policy(by(BOSS, request)).await?;
        Ok(answer.into_inner().policy.unwrap())
    }

    pub(crate) async fn in_force(&self, policy: pb::Policy) -> pb::Policy {
        let policy = self.put_policy(policy).await.unwrap();
        self.activate(&policy, None, None).await.unwrap()
    }

    pub(crate) async fn roll_back(
        &self,
        scope: pb::PolicyScope,
    ) -> Result<pb::RollBackPolicyResponse, Status> {
        let request = pb::RollBackPolicyRequest {
            request_id: fresh(),
            kind: pb::PolicyKind::Clocks.into(),
            scope: Some(scope),
            reason: "it was wrong".to_owned(),
        };
        Ok(client(self.peer()).roll_back_policy(by(BOSS, request)).await?.into_inner())
    }

    pub(crate) async fn withdraw(&self, policy: &pb::Policy) -> Result<pb::Policy, Status> {
        let (request_id, policy_id) = (fresh(), policy.policy_id.clone());
        let request = pb::WithdrawPolicyRequest { request_id, policy_id, reason: "a mistake".to_owned() };
        let answer = client(self.peer()).withdraw_policy(by(BOSS, request)).await?;
        Ok(answer.into_inner().policy.unwrap())
    }

    async fn listed(&self, only_in_force: bool) -> Vec<i64> {
        let (mut versions, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListPoliciesRequest { kind: 0, only_in_force, page_size: 2, page_token };
            let page = client(self.peer()).list_policies(by(BOSS, request)).await.unwrap().into_inner();
            versions.extend(page.policies.iter().map(|policy| policy.version));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                return versions;
            }
        }
    }

    pub(crate) async fn explain(
        &self,
        target: pb::PolicyScope,
        at: Option<Timestamp>,
    ) -> Result<pb::ExplainPolicyResponse, Status> {
        let request = pb::ExplainPolicyRequest {
            kind: pb::PolicyKind::Clocks.into(),
            target: Some(target),
            at_time: at.map(stamp),
        };
        Ok(client(self.peer()).explain_policy(by("store/lon-1", request)).await?.into_inner())
    }

    /// In how many minutes a node accepts, and the version that says so.
    pub(crate) async fn accept_at(&self, node: &str, at: Option<Timestamp>) -> (i64, i64) {
        let explained = self.explain(at_node(node), at).await.unwrap();
        let Some(Body::Clocks(clocks)) = explained.effective.unwrap().body else { panic!("no clocks") };
        let origin = explained.origins.into_iter().find(|origin| origin.field == "accept").unwrap();
        (clocks.accept.unwrap().seconds / 60, origin.version)
    }
}

#[tokio::test]
async fn a_version_is_in_force_from_its_activation_until_it_is_rolled_back() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1), store("lon-2", 51.6, -0.1)]).await;
        let settings = world.accept_at("lon-1", None).await;
        assert_eq!(settings.1, 0);
        let all = world.in_force(accept(everything(), 50)).await;
        let one = world.put_policy(accept(at_node("lon-1"), 5)).await.unwrap();
        assert_eq!((all.version, one.version, one.author.as_str()), (1, 2, BOSS));
        assert_eq!((one.in_force.len(), all.in_force.len()), (0, 1));
        assert_eq!(world.accept_at("lon-1", None).await, (50, 1));

        let one = world.activate(&one, None, None).await.unwrap();
        assert_eq!(world.accept_at("lon-1", None).await, (5, 2));
        assert_eq!(world.accept_at("lon-2", None).await, (50, 1));
        let explained = world.explain(at_node("lon-1"), None).await.unwrap();
        let ids = |policies: &[pb::Policy]| policies.iter().map(|p| p.policy_id.clone()).collect::<Vec<_>>();
        assert_eq!(ids(&explained.candidates), [one.policy_id.clone(), all.policy_id.clone()]);
        let origin = explained.origins.iter().find(|origin| origin.field == "accept").unwrap();
        assert_eq!((&origin.policy_id, &origin.loser_ids), (&one.policy_id, &vec![all.policy_id.clone()]));
        let keep = explained.origins.iter().find(|origin| origin.field == "keep").unwrap();
        assert_eq!((keep.policy_id.as_str(), keep.version), ("", 0), "the settings say it");

        world.pass(SignedDuration::from_mins(7));
        let back = world.roll_back(at_node("lon-1")).await.unwrap();
        assert_eq!(back.ended.unwrap().in_force[0].end_time, Some(stamp(world.now())));
        assert_eq!(back.in_force, None);
        assert_eq!(world.accept_at("lon-1", None).await, (50, 1));
        let before = world.now() - SignedDuration::from_mins(1);
        assert_eq!(world.accept_at("lon-1", Some(before)).await, (5, 2), "the past is explained as it was");
        let nothing = refusal(world.roll_back(at_node("lon-1")).await);
        assert_eq!(nothing, (Code::FailedPrecondition, "POLICY_NOT_IN_FORCE".to_owned()));
        assert_eq!((world.listed(false).await, world.listed(true).await), (vec![2, 1], vec![1]));

        let mut of_one = Vec::new();
        for event in world.appended::<pb::FulfillmentEvent>().await {
            let Some(Event::PolicyChanged(changed)) = event.body.body else { continue };
            let policy = changed.policy.unwrap();
            if policy.policy_id == one.policy_id {
                assert_eq!((event.actor.as_str(), event.body.fulfillment_order), (BOSS, None));
                assert_eq!(wire::policy_id(&policy.policy_id), Ok(event.aggregate));
                of_one.push((event.sequence, policy.in_force.len()));
            }
        }
        assert_eq!(of_one, [(1, 0), (2, 1), (3, 1)]);
    }
}

#[tokio::test]
async fn a_later_version_of_the_scope_makes_a_hole_and_the_other_goes_on() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        let hours = |hours| world.now() + SignedDuration::from_hours(hours);
        world.in_force(accept(everything(), 50)).await;
        let sale = world.put_policy(accept(everything(), 5)).await.unwrap();
        world.activate(&sale, Some(hours(2)), Some(hours(4))).await.unwrap();
        for (at, expected) in [(0, (50, 1)), (1, (50, 1)), (2, (5, 2)), (3, (5, 2)), (4, (50, 1))] {
            assert_eq!(world.accept_at("lon-1", Some(hours(at))).await, expected, "after {at} h");
        }
        // Once more over it, and back: what was under it is in force again.
        world.pass(SignedDuration::from_hours(3));
        world.in_force(accept(everything(), 7)).await;
        assert_eq!(world.accept_at("lon-1", None).await, (7, 3));
        let back = world.roll_back(everything()).await.unwrap();
        assert_eq!((back.ended.unwrap().version, back.in_force.unwrap().version), (3, 2));
        assert_eq!(world.accept_at("lon-1", None).await, (5, 2));
        // Another process reads the same from the tables.
        let another = world.another().await;
        let asked = domain::policy::Asked::default();
        let found = another.policies().book().clocks(&asked, world.now()).accept.unwrap();
        assert_eq!((found.value.as_mins(), found.version), (5, 2));
    }
}

#[tokio::test]
async fn a_request_has_one_effect_and_one_answer() {
    for world in worlds().await {
        let request_id = fresh();
        let policy = accept(everything(), 5);
        let put = pb::PutPolicyRequest { request_id: request_id.clone(), policy: Some(policy) };
        let mut client = client(world.peer());
        let first = client.put_policy(by(BOSS, put.clone())).await.unwrap().into_inner();
        let again = client.put_policy(by(BOSS, put.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        let other = pb::PutPolicyRequest { policy: Some(accept(everything(), 6)), ..put };
        let refused = refusal(client.put_policy(by(BOSS, other)).await);
        assert_eq!(refused, (Code::InvalidArgument, "REQUEST_ID_REUSED".to_owned()));
        let policy_id = first.policy.unwrap().policy_id;
        let activate = pb::ActivatePolicyRequest { request_id: fresh(), policy_id, ..Default::default() };
        let first = client.activate_policy(by(BOSS, activate.clone())).await.unwrap().into_inner();
        let again = client.activate_policy(by(BOSS, activate.clone())).await.unwrap().into_inner();
        assert_eq!(first, again);
        let once_more = pb::ActivatePolicyRequest { request_id: fresh(), ..activate };
        let refused = refusal(client.activate_policy(by(BOSS, once_more)).await);
        assert_eq!(refused, (Code::FailedPrecondition, "POLICY_IN_FORCE".to_owned()));
        let rows =
            "SELECT (SELECT COUNT(*) FROM policies) * 100 + (SELECT COUNT(*) FROM policy_activations) AS n";
        assert_eq!(world.count(rows).await, 101);
    }
}

#[tokio::test]
async fn nothing_begins_in_the_past_but_a_minute_late_is_now() {
    for world in worlds().await {
        let seconds = |seconds| world.now() + SignedDuration::from_secs(seconds);
        let policy = world.put_policy(accept(everything(), 5)).await.unwrap();
        let early = world.activate(&policy, Some(seconds(-61)), None).await.unwrap_err();
        assert_eq!(fields(&early), ["from_time"]);
        let empty = world.activate(&policy, Some(seconds(5)), Some(seconds(5))).await.unwrap_err();
        assert_eq!(fields(&empty), ["until_time"]);
        let policy = world.activate(&policy, Some(seconds(-60)), None).await.unwrap();
        assert_eq!(policy.in_force[0].start_time, Some(stamp(world.now())));

        let bounded = |from: i64, until: i64| pb::Policy {
            from_time: Some(stamp(seconds(from))),
            until_time: Some(stamp(seconds(until))),
            ..accept(everything(), 5)
        };
        let over = world.put_policy(bounded(-62, -1)).await.unwrap_err();
        assert_eq!(fields(&over), ["policy.from_time", "policy.until_time"]);
        let later = world.put_policy(bounded(60, 120)).await.unwrap();
        let early = world.activate(&later, Some(seconds(59)), None).await.unwrap_err();
        assert_eq!(fields(&early), ["from_time"]);
        let late = world.activate(&later, None, Some(seconds(121))).await.unwrap_err();
        assert_eq!(fields(&late), ["until_time"]);
        let later = world.activate(&later, None, None).await.unwrap();
        let window = &later.in_force[0];
        assert_eq!(
            (window.start_time, window.end_time),
            (Some(stamp(seconds(60))), Some(stamp(seconds(120))))
        );
        world.pass(SignedDuration::from_secs(120));
        let over = refusal(world.activate(&later, None, None).await);
        assert_eq!(over, (Code::FailedPrecondition, "POLICY_OVER".to_owned()));
        let nobody = pb::Policy { policy_id: wire::shown_id(v7()), ..later };
        let missing = refusal(world.activate(&nobody, None, None).await);
        assert_eq!(missing, (Code::NotFound, "POLICY_NOT_FOUND".to_owned()));
    }
}

#[tokio::test]
async fn a_version_that_is_withdrawn_ends_never_comes_and_leaves_what_lies_under_it() {
    let over = (Code::FailedPrecondition, "POLICY_OVER".to_owned());
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        let hours = |hours| world.now() + SignedDuration::from_hours(hours);
        // One that is planned never comes.
        world.in_force(accept(everything(), 50)).await;
        let planned = world.put_policy(accept(everything(), 5)).await.unwrap();
        let planned = world.activate(&planned, Some(hours(2)), Some(hours(4))).await.unwrap();
        assert_eq!((planned.changed_by.as_str(), planned.end_reason.as_str()), (BOSS, ""));
        let gone = world.withdraw(&planned).await.unwrap();
        assert_eq!((gone.in_force.len(), gone.withdraw_time), (0, Some(stamp(world.now()))));
        assert_eq!((gone.changed_by.as_str(), gone.end_reason.as_str()), (BOSS, "a mistake"));
        assert_eq!(world.accept_at("lon-1", Some(hours(3))).await, (50, 1));
        assert_eq!(refusal(world.activate(&planned, None, None).await), over);
        assert_eq!(refusal(world.withdraw(&planned).await), over);
        // Of two that lie over each other the lower one goes, and the upper one stays; then nothing is under it.
        let (lower, upper) = (world.in_force(accept(at_node("lon-1"), 7)).await, accept(at_node("lon-1"), 9));
        let upper = world.in_force(upper).await;
        world.withdraw(&lower).await.unwrap();
        assert_eq!(world.accept_at("lon-1", None).await, (9, upper.version));
        let back = world.roll_back(at_node("lon-1")).await.unwrap();
        assert_eq!((back.in_force, back.ended.unwrap().end_reason.as_str()), (None, "it was wrong"));
        assert_eq!(world.accept_at("lon-1", None).await, (50, 1));
        // What is in force ends now, and its past is explained as it was.
        let one = world.in_force(accept(at_node("lon-1"), 3)).await;
        world.pass(SignedDuration::from_mins(5));
        world.withdraw(&one).await.unwrap();
        let before = world.now() - SignedDuration::from_mins(1);
        assert_eq!(world.accept_at("lon-1", Some(before)).await, (3, one.version));
        assert_eq!(world.accept_at("lon-1", None).await, (50, 1));
    }
}

#[tokio::test]
async fn a_number_may_change_every_day_for_years() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        for day in 1..=70 {
            let policy = world.in_force(accept(everything(), 1 + day)).await;
            assert_eq!((policy.version, policy.in_force.len()), (day, 1));
            world.pass(SignedDuration::from_hours(24));
        }
        for day in (21..70).rev() {
            let back = world.roll_back(everything()).await.unwrap();
            assert_eq!(back.in_force.unwrap().version, day);
        }
        assert_eq!(world.listed(true).await, [21]);
    }
}

#[tokio::test]
async fn a_version_is_not_in_force_more_often_than_its_list_can_show() {
    for world in worlds().await {
        let policy = world.put_policy(accept(everything(), 5)).await.unwrap();
        let hours = |hours| world.now() + SignedDuration::from_hours(hours);
        for day in 0..20 {
            let shown =
                world.activate(&policy, Some(hours(day * 24)), Some(hours(day * 24 + 1))).await.unwrap();
            assert_eq!(shown.in_force.len(), usize::try_from(day).unwrap() + 1);
        }
        let refused = world.activate(&policy, Some(hours(480)), Some(hours(481))).await;
        assert_eq!(refusal(refused), (Code::ResourceExhausted, "POLICIES_FULL".to_owned()));
        // What is over makes room.
        world.pass(SignedDuration::from_hours(1));
        let shown = world.activate(&policy, Some(hours(480)), Some(hours(481))).await.unwrap();
        assert_eq!(shown.in_force.len(), 20);
        assert_eq!(shown.in_force[0].start_time, Some(stamp(hours(23))));
    }
}

#[tokio::test]
async fn there_are_at_most_two_thousand_versions_of_a_kind_that_may_still_apply() {
    for world in worlds().await {
        let first = world.in_force(accept(everything(), 5)).await;
        let mut tx = world.db.begin().await.unwrap();
        for version in 10_001..=11_999 {
            let policy_id = wire::shown_id(v7());
            let policy = pb::Policy { policy_id, version, in_force: Vec::new(), ..first.clone() };
            assert!(policies::put(&mut tx, &Stored { policy, sequence: 1 }).await.unwrap());
        }
        // One that is over does not count.
        let span = Span { from: world.now(), until: Some(world.now()) };
        let (policy_id, in_force) = (wire::shown_id(v7()), wire::windows(&[span], 1));
        let over = pb::Policy { policy_id, version: 12_000, in_force, ..first };
        policies::put(&mut tx, &Stored { policy: over, sequence: 1 }).await.unwrap();
        tx.commit().await.unwrap();
        let full = world.put_policy(accept(everything(), 6)).await.unwrap_err();
        assert_eq!((full.code(), reason(&full).as_str()), (Code::ResourceExhausted, "POLICIES_FULL"));
        // Another kind has room.
        let units = pb::SafetyStockPolicy { units: Some(1), percent: None };
        let other = pb::Policy { body: Some(Body::SafetyStock(units)), ..accept(everything(), 1) };
        world.put_policy(other).await.unwrap();
    }
}

#[tokio::test]
async fn what_is_explained_is_a_thing_that_exists() {
    for world in worlds().await {
        let missing = refusal(world.explain(at_node("lon-9"), None).await);
        assert_eq!(missing, (Code::NotFound, "NODE_NOT_FOUND".to_owned()));
        let pattern = pb::PolicyScope {
            node_group: "city".to_owned(),
            node_kind: pb::NodeKind::Store.into(),
            tier: 10,
            channel: "\n".to_owned(),
            ..everything()
        };
        let refused = world.explain(pattern, None).await.unwrap_err();
        let named = ["target.node_group", "target.node_kind", "target.channel", "target.tier"];
        assert_eq!(fields(&refused), named);
    }
}
