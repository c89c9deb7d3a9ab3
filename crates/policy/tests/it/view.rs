//! A process reads what other processes of its service applied.

use std::time::Duration;

use contract::fulfillment::v1 as pb;
use db::{Engine, testing};
use domain::network::Kind;
use domain::policy::Book;
use jiff::SignedDuration;
use policy::{View, policies};
use tokio_util::sync::CancellationToken;

use crate::world::{
    SETS, accept, apply, clock, group, group_event, in_group, minutes_at, node_event, now, policy_event,
};

#[tokio::test]
async fn a_view_without_tables_keeps_its_book() {
    let version = policies::Stored { policy: accept(4, pb::PolicyScope::default(), 9), sequence: 1 };
    let version = std::sync::Arc::new(version.version().unwrap());
    let view = View::fixed(Book::new([version], [], []));
    view.refresh().await.unwrap();
    assert_eq!(minutes_at(&view, "lon-1"), Some((9, 4)));
    assert_eq!(minutes_at(&View::default(), "lon-1"), None);
}

#[tokio::test]
async fn another_process_sees_each_change_by_its_next_look() {
    for db in testing::engines(SETS).await {
        let view = View::load(db.reopen().await, clock()).await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), None);
        let before = view.book();
        apply(&db, &[policy_event(accept(1, pb::PolicyScope::default(), 60), 1)]).await;
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((60, 1)));
        // Who began with the old book keeps it.
        assert_eq!(before.versions().len(), 0);

        // The group comes after the version that names it, and the node after both.
        apply(&db, &[policy_event(accept(2, in_group("city"), 5), 1)]).await;
        view.refresh().await.unwrap();
        apply(&db, &[group_event("city", Some(group("city", &["lon-1"], &[])), 1)]).await;
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((60, 1)));
        apply(&db, &[node_event("lon-1", Kind::Store, &[], 1)]).await;
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((5, 2)));
        let book = view.book();
        view.refresh().await.unwrap();
        assert!(std::sync::Arc::ptr_eq(&book, &view.book()), "nothing changed");
    }
}

#[tokio::test]
async fn a_transaction_that_commits_late_is_seen() {
    for db in testing::engines(SETS).await {
        if db.engine() == Engine::Sqlite {
            // Its transactions commit in the order in which they began.
            continue;
        }
        let view = View::load(db.reopen().await, clock()).await.unwrap();
        let mut late = db.begin().await.unwrap();
        let event = policy_event(accept(1, pb::PolicyScope::default(), 60), 1);
        policy::apply(&mut late, &event).await.unwrap();
        apply(&db, &[policy_event(accept(2, in_group("city"), 5), 1)]).await;
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), None);
        late.commit().await.unwrap();
        view.refresh().await.unwrap();
        assert_eq!(minutes_at(&view, "lon-1"), Some((60, 1)));
    }
}

#[tokio::test]
async fn what_is_over_leaves_the_book() {
    for db in testing::engines(SETS).await {
        let clock = clock();
        let view = View::load(db.db(), clock.clone()).await.unwrap();
        let until = now() + SignedDuration::from_mins(5);
        let mut short = accept(1, pb::PolicyScope::default(), 60);
        short.in_force[0].end_time = Some(service::wire::timestamp(until));
        apply(&db, &[policy_event(short, 1)]).await;
        view.refresh().await.unwrap();
        assert_eq!(view.book().versions().len(), 1);
        assert!(clock.advance_to(until + SignedDuration::from_hours(2)));
        apply(&db, &[policy_event(accept(2, in_group("city"), 5), 1)]).await;
        view.refresh().await.unwrap();
        let numbers: Vec<i64> = view.book().versions().iter().map(|version| version.version).collect();
        assert_eq!(numbers, [2]);
        let fresh = View::load(db.db(), clock.clone()).await.unwrap();
        assert_eq!(fresh.book().versions().len(), 1);
        let mut tx = db.read().await.unwrap();
        // The rows stay for lists and explanations of the past.
        assert_eq!(policies::page(&mut tx, None, None, i64::MAX, 10).await.unwrap().len(), 2);
        assert_eq!(
            policies::page(&mut tx, None, Some(clock.business()), i64::MAX, 10).await.unwrap().len(),
            1
        );
    }
}

#[tokio::test]
async fn a_following_view_is_woken() {
    for db in testing::engines(SETS).await {
        let view = View::load(db.db(), clock()).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn({
            let (view, stop) = (view.clone(), stop.clone());
            // So rarely that only being woken explains what it sees.
            async move { view.follow(Duration::from_hours(24), stop).await }
        });
        apply(&db, &[policy_event(accept(1, pb::PolicyScope::default(), 60), 1)]).await;
        view.wake();
        while minutes_at(&view, "lon-1").is_none() {
            clock().pause(Duration::from_millis(5)).await;
        }
        stop.cancel();
        task.await.unwrap();
    }
}
