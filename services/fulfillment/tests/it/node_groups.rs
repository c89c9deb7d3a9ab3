//! Groups of nodes, the facts of nodes that they go by, and versions that they would make ambiguous.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::fulfillment_event::Body as Event;
use jiff::SignedDuration;
use test_world::{by, fresh, refusal, stamp, until};
use tonic::{Code, Status};

use crate::policies::{BOSS, accept, everything};
use crate::support::{World, patient_worlds, store, worlds};

fn group(code: &str, nodes: &[&str], tags: &[&str]) -> pb::NodeGroup {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let (node_group, name) = (code.to_owned(), format!("Group {code}"));
    pb::NodeGroup { node_group, name, node_ids: texts(nodes), tags: texts(tags), ..Default::default() }
}

pub(crate) fn in_group(code: &str) -> pb::PolicyScope {
    pb::PolicyScope { node_group: code.to_owned(), ..everything() }
}

fn tagged(node: &str, tags: &[&str]) -> pb::Node {
    pb::Node { tags: tags.iter().map(|tag| (*tag).to_owned()).collect(), ..store(node, 51.5, -0.1) }
}

fn ambiguous() -> (Code, String) {
    (Code::FailedPrecondition, "POLICY_AMBIGUOUS".to_owned())
}

impl World {
    async fn put_group(&self, group: pb::NodeGroup) -> Result<pb::NodeGroup, Status> {
        let request = pb::PutNodeGroupRequest { request_id: fresh(), group: Some(group) };
        Ok(self.network().put_node_group(by(BOSS, request)).await?.into_inner().group.unwrap())
    }

    async fn group(&self, code: &str) -> Result<pb::GetNodeGroupResponse, Status> {
        let request = pb::GetNodeGroupRequest { node_group: code.to_owned() };
        Ok(self.network().get_node_group(by("store/lon-1", request)).await?.into_inner())
    }

    async fn delete_group(&self, code: &str) -> Result<(), Status> {
        let request = pb::DeleteNodeGroupRequest { request_id: fresh(), node_group: code.to_owned() };
        self.network().delete_node_group(by(BOSS, request)).await.map(|_| ())
    }

    /// Events of an aggregate type: who it is about, and their sequence.
    async fn announced(&self) -> Vec<(String, i64)> {
        let appended = self.appended::<pb::FulfillmentEvent>().await.into_iter();
        let about = |body: Option<Event>| match body {
            Some(Event::NodeChanged(changed)) => {
                Some(format!("{} {}", changed.node_id, changed.tags.join("+")))
            }
            Some(Event::NodeGroupChanged(changed)) => {
                let gone = if changed.is_deleted { " deleted" } else { "" };
                Some(format!("{}{gone}", changed.group.unwrap().node_group))
            }
            _ => None,
        };
        appended.filter_map(|event| Some((about(event.body.body)?, event.sequence))).collect()
    }
}

#[tokio::test]
async fn a_group_has_the_nodes_that_it_lists_and_those_with_all_of_its_tags() {
    for world in worlds().await {
        let nodes = vec![tagged("b", &["city", "big"]), tagged("a", &["city"]), tagged("c", &[])];
        world.put(nodes).await;
        let put = world.put_group(group("town", &["c", "later"], &["city", "big"])).await.unwrap();
        assert_eq!((put.etag.as_str(), put.update_time), ("v1", Some(stamp(world.now()))));
        let read = world.group("town").await.unwrap();
        assert_eq!(
            (read.group.as_ref(), read.member_ids),
            (Some(&put), vec!["b".to_owned(), "c".to_owned()])
        );
        world.put(vec![tagged("later", &[]), tagged("b", &["city"])]).await;
        assert_eq!(world.group("town").await.unwrap().member_ids, ["c", "later"]);

        let stale = pb::NodeGroup { etag: "v7".to_owned(), ..put.clone() };
        let changed = (Code::Aborted, "GROUP_CHANGED".to_owned());
        assert_eq!(refusal(world.put_group(stale).await), changed);
        let renamed =
            world.put_group(pb::NodeGroup { name: "Town".to_owned(), ..put.clone() }).await.unwrap();
        assert_eq!(renamed.etag, "v2");
        let new = pb::NodeGroup { etag: "v1".to_owned(), ..group("new", &[], &[]) };
        assert_eq!(refusal(world.put_group(new).await), changed);
        for code in ["x", "B", "y"] {
            world.put_group(group(code, &[], &[])).await.unwrap();
        }
        let (mut codes, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = pb::ListNodeGroupsRequest { page_size: 3, page_token };
            let page = world.network().list_node_groups(by(BOSS, request)).await.unwrap().into_inner();
            codes.extend(page.groups.into_iter().map(|group| group.node_group));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(codes, ["B", "town", "x", "y"]);
        let missing = (Code::NotFound, "GROUP_NOT_FOUND".to_owned());
        assert_eq!(refusal(world.group("nothing").await), missing);
        assert_eq!(refusal(world.delete_group("nothing").await), missing);
    }
}

#[tokio::test]
async fn a_group_that_a_version_names_stays_until_the_version_is_over() {
    for world in worlds().await {
        let unknown = world.put_policy(accept(in_group("town"), 5)).await.unwrap_err();
        assert_eq!(test_world::fields(&unknown), ["policy.scope.node_group"]);
        world.put_group(group("town", &[], &[])).await.unwrap();
        let policy = world.put_policy(accept(in_group("town"), 5)).await.unwrap();
        let used = (Code::FailedPrecondition, "GROUP_IN_USE".to_owned());
        assert_eq!(refusal(world.delete_group("town").await), used);
        // One that was only put is in the way, until it is withdrawn.
        world.put_group(group("village", &[], &[])).await.unwrap();
        let draft = world.put_policy(accept(in_group("village"), 5)).await.unwrap();
        assert_eq!(refusal(world.delete_group("village").await), used);
        world.withdraw(&draft).await.unwrap();
        world.delete_group("village").await.unwrap();
        world.activate(&policy, None, Some(world.now() + SignedDuration::from_hours(1))).await.unwrap();
        assert_eq!(refusal(world.delete_group("town").await), used);
        world.pass(SignedDuration::from_hours(1));
        world.delete_group("town").await.unwrap();
        assert!(world.group("town").await.is_err());
        let gone = refusal(world.activate(&policy, None, None).await);
        assert_eq!(gone, (Code::NotFound, "GROUP_NOT_FOUND".to_owned()));
        let again = world.put_group(group("town", &[], &[])).await.unwrap();
        assert_eq!(again.etag, "v3", "it counts on");
        world.activate(&policy, None, None).await.unwrap();
        let town = world.announced().await.into_iter().filter(|(text, _)| text.starts_with("town"));
        let expected = [("town", 1), ("town deleted", 2), ("town", 3)];
        let expected = expected.map(|(text, sequence)| (text.to_owned(), sequence));
        assert_eq!(town.collect::<Vec<_>>(), expected);
    }
}

#[tokio::test]
async fn a_node_tells_what_policies_ask_about_it_when_that_changes() {
    for world in worlds().await {
        world.put(vec![tagged("lon-1", &["city"]), tagged("lon-2", &[])]).await;
        world.put(vec![tagged("lon-1", &["city"])]).await;
        let closing = pb::TemporaryClosing { from_time: Some(stamp(world.now())), ..Default::default() };
        let (request_id, node_id) = (fresh(), "lon-1".to_owned());
        let close = pb::CloseNodeRequest { request_id, node_id, closing: Some(closing) };
        world.network().close_node(by(BOSS, close)).await.unwrap();
        world.put(vec![tagged("lon-1", &["city", "big"])]).await;
        let kind = pb::NodeKind::Warehouse.into();
        world.put(vec![pb::Node { kind, ..tagged("lon-2", &[]) }]).await;
        let mut announced = world.announced().await;
        announced.sort();
        let expected = [("lon-1 big+city", 2), ("lon-1 city", 1), ("lon-2 ", 1), ("lon-2 ", 2)];
        assert_eq!(announced, expected.map(|(text, sequence)| (text.to_owned(), sequence)));
    }
}

#[tokio::test]
async fn versions_of_equal_rank_do_not_meet_at_a_node() {
    for world in worlds().await {
        world.put(vec![tagged("lon-1", &["a"]), tagged("lon-2", &["b"])]).await;
        world.put_group(group("a", &[], &["a"])).await.unwrap();
        world.put_group(group("b", &[], &["b"])).await.unwrap();
        world.put_group(group("c", &["lon-1"], &[])).await.unwrap();
        world.in_force(accept(in_group("a"), 5)).await;
        world.in_force(accept(in_group("b"), 6)).await;

        // Where a version is put.
        assert_eq!(refusal(world.put_policy(accept(in_group("c"), 7)).await), ambiguous());
        let narrower = pb::PolicyScope { channel: "web".to_owned(), ..in_group("c") };
        world.put_policy(accept(narrower, 7)).await.unwrap();
        // Where a group changes.
        assert_eq!(refusal(world.put_group(group("b", &["lon-1"], &["b"])).await), ambiguous());
        // Where a node changes: the others of the call are stored.
        let nodes = vec![tagged("lon-2", &["a", "b"]), tagged("lon-3", &["a"])];
        let request = pb::PutNodesRequest { request_id: fresh(), nodes };
        let answer = world.network().put_nodes(by(BOSS, request)).await.unwrap().into_inner();
        let verdicts: Vec<(&str, &str)> =
            answer.results.iter().map(|result| (result.node_id.as_str(), result.reason.as_str())).collect();
        assert_eq!(verdicts, [("lon-2", "POLICY_AMBIGUOUS"), ("lon-3", "")]);
        assert!(answer.results[0].message.contains("lon-2"), "{}", answer.results[0].message);
        assert_eq!(answer.nodes.len(), 1);
        let alone = pb::PutNodesRequest { request_id: fresh(), nodes: vec![tagged("lon-4", &["a", "b"])] };
        assert_eq!(refusal(world.network().put_nodes(by(BOSS, alone)).await), ambiguous());
        assert_eq!(world.accept_at("lon-1", None).await, (5, 1));
        assert_eq!(world.accept_at("lon-2", None).await, (6, 2));
        assert_eq!(world.accept_at("lon-3", None).await, (5, 1));

        // What is over hinders nobody, and is judged again when it is put in force again.
        world.pass(SignedDuration::from_mins(1));
        world.roll_back(in_group("a")).await.unwrap();
        let third = world.in_force(accept(in_group("c"), 7)).await;
        assert_eq!(world.accept_at("lon-1", None).await, (7, third.version));
        let first = pb::Policy { policy_id: first_id(&world).await, ..Default::default() };
        assert_eq!(refusal(world.activate(&first, None, None).await), ambiguous());
    }
}

/// The id of the first version.
async fn first_id(world: &World) -> String {
    let rows = world.rows("SELECT policy_id FROM policies WHERE version = 1").await;
    policy::wire::shown_id(rows[0].get("policy_id").unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_callers_at_once_one_is_refused_as_ambiguous() {
    for world in patient_worlds().await {
        world.put(vec![tagged("lon-1", &["a", "b"])]).await;
        let other = world.beside().await;
        for round in 0..10 {
            let [a, b] = ["a", "b"].map(|tag| format!("{tag}{round}"));
            world.put_group(group(&a, &[], &["a"])).await.unwrap();
            world.put_group(group(&b, &[], &["b"])).await.unwrap();
            let scope = |code: &str| pb::PolicyScope { channel: format!("web-{round}"), ..in_group(code) };
            let (one, two) =
                tokio::join!(world.put_policy(accept(scope(&a), 5)), other.put_policy(accept(scope(&b), 6)),);
            let refused = [one.err(), two.err()].into_iter().flatten().collect::<Vec<_>>();
            assert_eq!(refused.len(), 1, "{refused:?}");
            assert_eq!(refusal::<()>(Err(refused[0].clone())), ambiguous());
        }
        // Two who make the same node: both succeed, and its events are numbered.
        for round in 0..10 {
            let made = |tag: &'static str| vec![tagged(&format!("twin-{round}"), &[tag])];
            tokio::join!(world.put(made("one")), other.put(made("two")));
        }
        let announced = world.announced().await.into_iter().filter(|(text, _)| text.starts_with("twin-"));
        assert_eq!(announced.filter(|(_, sequence)| *sequence == 2).count(), 10);
        // A version against a node that changes.
        for round in 0..10 {
            let channel = format!("shop-{round}");
            let node = format!("new-{round}");
            let [a, b] = ["x", "y"].map(|tag| format!("{tag}{round}"));
            world.put_group(group(&a, &[&node], &[])).await.unwrap();
            world.put_group(group(&b, &[], &[&b])).await.unwrap();
            let scope = |code: &str| pb::PolicyScope { channel: channel.clone(), ..in_group(code) };
            world.put_policy(accept(scope(&a), 5)).await.unwrap();
            let nodes = vec![tagged(&node, &[&b])];
            let put = pb::PutNodesRequest { request_id: fresh(), nodes };
            let mut network = other.network();
            let (policy, nodes) =
                tokio::join!(world.put_policy(accept(scope(&b), 6)), network.put_nodes(by(BOSS, put)));
            let refused = [policy.err(), nodes.err()].into_iter().flatten().collect::<Vec<_>>();
            assert_eq!(refused.len(), 1, "{refused:?}");
            assert_eq!(refusal::<()>(Err(refused[0].clone())), ambiguous());
        }
        // Each process knows what the other did.
        until("both know it", async || {
            other.service.policies().refresh().await.unwrap();
            other.service.policies().book().versions().len()
                == world.service.policies().book().versions().len()
        })
        .await;
    }
}
