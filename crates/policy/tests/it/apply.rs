//! A follower keeps what the newest event says.

use db::testing;
use domain::network::Kind;
use policy::{View, groups};
use test_world::Ground;

use crate::world::{
    SETS, accept, apply, clock, group, group_event, in_group, minutes_at, node_event, policy_event,
};
use contract::fulfillment::v1 as pb;

#[tokio::test]
async fn both_engines_have_the_same_tables() {
    Ground::same_tables(SETS).await;
}

#[tokio::test]
async fn events_apply_once_and_older_ones_change_nothing() {
    for db in testing::engines(SETS).await {
        let everything = pb::PolicyScope::default;
        let node = |tags: &[&str], sequence| node_event("lon-1", Kind::Store, tags, sequence);
        let put = |minutes, sequence| policy_event(accept(1, in_group("city"), minutes), sequence);
        let city = |sequence| group_event("city", Some(group("city", &[], &["city"])), sequence);
        let first = [node(&["city"], 1), city(1), put(5, 1), policy_event(accept(2, everything(), 60), 1)];
        assert_eq!(apply(&db, &first).await, [true; 4]);
        assert_eq!(apply(&db, &first).await, [false; 4]);
        let view = View::load(db.db(), clock()).await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((5, 1)));

        // The third event of the version overtakes the second.
        assert_eq!(apply(&db, &[put(7, 3), put(6, 2)]).await, [true, false]);
        // The group loses its node, is deleted, and an older event of it comes late.
        let gone = group_event("city", None, 3);
        assert_eq!(apply(&db, &[node(&[], 2), gone, city(2)]).await, [true, true, false]);
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((60, 2)));
        let mut tx = db.read().await.unwrap();
        assert_eq!(groups::count(&mut tx).await.unwrap(), 0);
        assert_eq!(groups::page(&mut tx, "", 10).await.unwrap(), []);
        drop(tx);

        // It is put again: its sequence goes on.
        assert_eq!(apply(&db, &[node(&["city"], 3), city(4)]).await, [true, true]);
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((7, 1)));
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_no_change() {
    for db in testing::engines(SETS).await {
        let mut tx = db.begin().await.unwrap();
        let without_body = pb::Policy { body: None, ..accept(1, in_group("city"), 5) };
        let error = policy::apply(&mut tx, &policy_event(without_body, 1)).await.unwrap_err();
        assert!(error.to_string().contains("body is required"), "{error}");
        let mut other = policy_event(accept(1, in_group("city"), 5), 1);
        "fulfillment_order".clone_into(&mut other.aggregate_type);
        assert!(!policy::is_of(&other));
        assert!(!policy::apply(&mut tx, &other).await.unwrap());
    }
}
