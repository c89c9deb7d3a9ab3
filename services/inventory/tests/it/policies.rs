//! Safety stock by policies: it holds from the first moment, and who follows positions hears of it.

use contract::inventory::v1 as pb;
use domain::network::Kind;
use pb::Adjustment::{Count, Delta};
use test_world::{fresh, reason};

use crate::policy_world::{Scope, everything, of_group, of_sku, percent, units, version};
use crate::world::{World, after, item, line, worlds};

/// The units that are available, and those that were when the position was last announced.
async fn seen(world: &World, node: &str, sku: &str) -> (i64, i64) {
    (world.atp(node, sku).await, world.announced(node, sku).await.atp)
}

#[tokio::test]
async fn what_a_policy_keeps_back_is_refused_at_once_and_announced_after_that() {
    for world in worlds().await {
        world.stock("n1", &[("A", 5), ("B", 5)]).await;
        world.run_due().await;
        world.in_force(1, of_sku("A"), units(3)).await;
        assert_eq!(seen(&world, "n1", "A").await, (2, 5));
        assert_eq!(reason(&world.hold(vec![line(1, "n1", "A", 3)]).await.unwrap_err()), "NO_STOCK");
        let before = world.announced("n1", "B").await;
        let ledger = world.count("SELECT COUNT(*) AS n FROM movements").await;

        assert_eq!(world.next_due().await, Some(after(0)));
        assert!(world.run_due().await > 0);
        assert_eq!(seen(&world, "n1", "A").await, (2, 2));
        assert_eq!(world.announced("n1", "A").await.safety_stock, 3);
        assert!(world.is_announced("n1", "A").await);
        assert_eq!(world.announced("n1", "B").await, before, "it is not about this one");
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM movements").await, ledger, "nothing moved");
        assert_eq!(world.run_due().await, 0);
        world.hold(vec![line(1, "n1", "A", 2)]).await.unwrap();
        world.check().await;
    }
}

#[tokio::test]
async fn a_share_follows_what_is_on_hand() {
    for world in worlds().await {
        world.in_force(1, everything(), percent(10)).await;
        world.stock("n1", &[("A", 10)]).await;
        assert_eq!(seen(&world, "n1", "A").await, (9, 9));
        let received = world.adjust("n1", "A", Delta, 25).await.unwrap();
        assert_eq!((received.safety_stock, received.atp), (4, 31));
        assert_eq!(reason(&world.hold(vec![line(1, "n1", "A", 32)]).await.unwrap_err()), "NO_STOCK");
        world.hold(vec![line(1, "n1", "A", 31)]).await.unwrap();
        let counted = world.adjust("n1", "A", Count, 31).await.unwrap();
        assert_eq!((counted.safety_stock, counted.atp), (4, 0));
        assert!(world.is_announced("n1", "A").await);
        world.check().await;
    }
}

#[tokio::test]
async fn the_figure_of_a_position_wins_until_it_is_taken_away() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        world.in_force(1, everything(), units(6)).await;
        let set = async |safety_stock| {
            let (node_id, sku) = ("n1".to_owned(), "A".to_owned());
            let settings = vec![pb::SafetyStock { node_id, sku, safety_stock }];
            let request = pb::SetSafetyStockRequest { request_id: fresh(), settings };
            let answer = world.client().set_safety_stock(request).await.unwrap().into_inner();
            (answer.positions[0].safety_stock, answer.positions[0].atp)
        };
        for own in [0, 1] {
            assert_eq!(set(Some(own)).await, (own, 10 - own));
            world.run_due().await;
            assert_eq!(seen(&world, "n1", "A").await, (10 - own, 10 - own));
        }
        assert_eq!(set(None).await, (6, 4));
        assert_eq!(seen(&world, "n1", "A").await, (4, 4));
        world.check().await;
    }
}

#[tokio::test]
async fn a_version_begins_and_ends_by_itself() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        world.says(version(1, everything(), units(4), &[(60, Some(120))]), 1).await;
        world.run_due().await;
        assert_eq!(seen(&world, "n1", "A").await, (10, 10));
        assert_eq!(world.next_due().await, Some(after(60)));
        world.at(60).await;
        assert_eq!(seen(&world, "n1", "A").await, (6, 6));
        world.at(119).await;
        assert_eq!(world.next_due().await, Some(after(120)));
        world.at(120).await;
        assert_eq!(seen(&world, "n1", "A").await, (10, 10));
        world.check().await;
    }
}

#[tokio::test]
async fn a_version_that_is_rolled_back_gives_back_what_it_kept() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        world.in_force(1, everything(), units(4)).await;
        world.says(version(2, of_sku("A"), units(9), &[(10, None)]), 1).await;
        world.at(10).await;
        assert_eq!(seen(&world, "n1", "A").await, (1, 1));
        world.at(20).await;
        world.says(version(2, of_sku("A"), units(9), &[(10, Some(20))]), 2).await;
        assert_eq!(seen(&world, "n1", "A").await, (6, 1));
        world.run_due().await;
        assert_eq!(seen(&world, "n1", "A").await, (6, 6));
        world.check().await;
    }
}

#[tokio::test]
async fn positions_follow_the_category_of_their_sku_and_the_groups_of_their_node() {
    for world in worlds().await {
        world.stock("n1", &[("A", 10)]).await;
        world.stock("n2", &[("A", 10)]).await;
        let tea = Scope { category: "tea".to_owned(), ..Scope::default() };
        world.in_force(1, tea, units(7)).await;
        world.node("n1", Kind::Store, &[], 1).await;
        world.node("n2", Kind::Store, &["city"], 1).await;
        world.group("city", "city").await;
        world.in_force(2, of_group("city"), units(2)).await;
        world.run_due().await;
        assert_eq!((seen(&world, "n1", "A").await, seen(&world, "n2", "A").await), ((10, 10), (8, 8)));

        // the node leaves the group, another one comes
        world.node("n2", Kind::Store, &[], 2).await;
        world.node("n1", Kind::Store, &["city"], 2).await;
        world.run_due().await;
        assert_eq!((seen(&world, "n1", "A").await, seen(&world, "n2", "A").await), ((8, 8), (10, 10)));

        let skus = vec![pb::Sku { category: "tea".to_owned(), ..item("A") }];
        world.client().put_skus(pb::PutSkusRequest { request_id: fresh(), skus }).await.unwrap();
        assert_eq!(seen(&world, "n1", "A").await, (3, 8));
        assert!(world.run_due().await > 0);
        assert_eq!((seen(&world, "n1", "A").await, seen(&world, "n2", "A").await), ((3, 3), (3, 3)));
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM restate_due").await, 0);
        world.check().await;
    }
}

#[tokio::test]
async fn many_positions_are_announced_in_steps_and_looked_at_once_more() {
    for world in worlds().await {
        let codes: Vec<String> = (0..1_100).map(|n| format!("S{n:04}")).collect();
        world.items(&codes.iter().map(String::as_str).collect::<Vec<_>>()).await;
        world
            .alter(
                "INSERT INTO positions (node_id, sku, on_hand, reserved, safety_stock, in_transit, quarantine,
                                        count_blocked, has_pools, version, last_movement, updated_at)
                 SELECT 'n9', sku, 0, 0, 0, 0, 0, (1 = 0), (1 = 0), 1, 0, 0 FROM skus",
            )
            .await;
        world.in_force(1, everything(), units(1)).await;
        world.run_due().await;
        let stale = "SELECT COUNT(*) AS n FROM positions WHERE safety_stock <> 1";
        assert_eq!(world.count(stale).await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM positions WHERE version <> 2").await, 0);

        // another process writes some of them before it has heard of the version
        world.alter("UPDATE positions SET safety_stock = 0 WHERE sku < 'S0009'").await;
        assert_eq!(world.next_due().await, Some(after(5)));
        world.at(5).await;
        assert_eq!(world.count(stale).await, 0);
        assert_eq!(world.count("SELECT COUNT(*) AS n FROM positions WHERE version <> 2").await, 9);
        assert_eq!(world.next_due().await, None);
    }
}
