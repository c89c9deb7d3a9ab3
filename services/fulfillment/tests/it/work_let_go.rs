//! Claims that are kept although the node failed the work, until the order has it elsewhere.

use contract::fulfillment::v1 as pb;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body as OrderBody;
use futures_util::future::join_all;
use jiff::SignedDuration;
use pb::FulfillmentState as State;
use pb::RejectReason as Reason;
use pb::fulfillment_event::Body;
use test_world::reason;

use crate::work_world::{Shop, Work, buckets};

impl Shop {
    /// A leg whose node refused it, and whose claim is kept.
    async fn refused(&self, node: &str, units: i64) -> Work {
        let work = self.placed(node, &[units]).await;
        self.store(node).reject(&work.id, Reason::TooBusy).await.unwrap();
        work
    }

    /// What of the claim of a leg is kept, and what is released.
    async fn kept(&self, work: &Work) -> (i64, i64) {
        let line = buckets(&self.get(&work.id).await, 1);
        (line.kept, line.released)
    }
}

#[tokio::test]
async fn a_claim_is_kept_unless_the_goods_cannot_be_had() {
    for shop in Shop::all().await {
        for (reason, kept) in [
            (Reason::TooBusy, 2),
            (Reason::NodeClosed, 2),
            (Reason::Other, 2),
            (Reason::NotFound, 0),
            (Reason::Damaged, 0),
            (Reason::DisplayWorn, 0),
            (Reason::Mismatch, 0),
        ] {
            let work = shop.placed("N1", &[2]).await;
            let rejected = shop.store("N1").reject(&work.id, reason).await.unwrap();
            let line = buckets(&rejected, 1);
            assert_eq!((line.given_up, line.kept, line.held), (2, kept, kept), "{reason:?}");
        }
        let silent = shop.placed("N1", &[2]).await;
        shop.pass(SignedDuration::from_mins(15));
        shop.run_due().await;
        assert_eq!(shop.kept(&silent).await, (2, 0));
        let lost = shop.placed("N1", &[2]).await;
        shop.claim_lost(&lost).await;
        assert_eq!(shop.kept(&lost).await, (0, 2));
        let open = shop.count("SELECT COUNT(*) AS n FROM fulfillment_orders WHERE is_work").await;
        assert_eq!(open, 0, "what is kept is no work of the node");
    }
}

#[tokio::test]
async fn an_order_that_is_served_elsewhere_lets_the_old_claim_go_with_the_new_work() {
    for shop in Shop::all().await {
        let old = shop.refused("N1", 2).await;
        let new = old.elsewhere("N2");
        let mut stream = shop.watch("N2", "").await;
        assert!(stream.next().await.item.is_none());
        let rerouted = shop.rerouted(&new, 3, vec![old.units(2)]);
        shop.batch(std::slice::from_ref(&rerouted)).await;
        let offered = stream.next().await.item.unwrap().fulfillment_order.unwrap();
        assert_eq!((offered.fulfillment_id.as_str(), offered.state()), (new.id.as_str(), State::Offered));
        assert_eq!(shop.kept(&old).await, (0, 2));
        let events = shop.events(&old.id).await;
        let Some(Body::ClaimLetGo(let_go)) = &events.last().unwrap().body.body else { panic!("{events:?}") };
        assert_eq!(let_go.lines, [pb::HandedOverLine { line: 1, quantity: 2 }]);
        let version = shop.get(&old.id).await.version;
        shop.batch(&[rerouted]).await;
        assert_eq!((shop.get(&old.id).await.version, shop.events(&new.id).await.len()), (version, 1));
        shop.store("N2").accept(&new.id).await.unwrap();
    }
}

#[tokio::test]
async fn a_claim_is_let_go_when_the_customer_is_asked_or_wants_nothing_any_more() {
    for shop in Shop::all().await {
        let bodies: [fn(Vec<orders::LegCancel>) -> OrderBody; 3] = [
            |let_go| OrderBody::OptionsOffered(orders::OrderOptionsOffered { let_go, ..Default::default() }),
            |let_go| OrderBody::NeedClosed(orders::OrderNeedClosed { let_go, ..Default::default() }),
            |let_go| OrderBody::Cancelled(orders::OrderCancelled { let_go, ..Default::default() }),
        ];
        for body in bodies {
            let old = shop.refused("N1", 3).await;
            shop.batch(&[shop.order_event(&old, 3, "", body(vec![old.units(1)]))]).await;
            assert_eq!(shop.kept(&old).await, (2, 1));
            shop.batch(&[shop.order_event(&old, 4, "", body(vec![old.units(9)]))]).await;
            assert_eq!((shop.kept(&old).await, shop.get(&old.id).await.state()), ((0, 3), State::Rejected));
        }
        let never = shop.plan("N1", &[1]);
        let closed = bodies[1](vec![never.units(1)]);
        shop.batch(&[shop.order_event(&never, 3, "", closed)]).await;
        let open = shop.placed("N1", &[1]).await;
        shop.batch(&[shop.order_event(&open, 3, "", bodies[1](vec![open.units(1)]))]).await;
        assert_eq!(shop.get(&open.id).await.version, 1, "nothing is kept of work that goes on");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_refusal_and_a_cancel_at_once_share_the_units_out() {
    for shop in Shop::all_patient().await {
        for _ in 0..20 {
            let work = shop.placed("N1", &[3]).await;
            let store = shop.store("N1");
            let (refused, ()) =
                tokio::join!(store.reject(&work.id, Reason::TooBusy), shop.cancel(&work, 1, &[(1, 1)]));
            if let Err(refused) = &refused {
                assert_eq!(reason(refused), "RETRY");
                store.reject(&work.id, Reason::TooBusy).await.unwrap();
            }
            let order = shop.get(&work.id).await;
            let line = buckets(&order, 1);
            assert_eq!((order.state(), order.version), (State::Rejected, 3));
            let events = shop.events(&work.id).await;
            let is_granted = events.iter().any(|event| matches!(event.body.body, Some(Body::Cancelled(_))));
            let cancelled = i64::from(is_granted);
            assert_eq!((line.cancelled, line.given_up, line.kept), (cancelled, 3 - cancelled, 3 - cancelled));
        }
    }
}

/// Orders go from one node to the other and back in batches of two processes: a process that locks one feed first and
/// then waits for the other would wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn orders_that_change_places_between_two_nodes_never_wait_in_a_circle() {
    const EACH: usize = 200;
    for shop in Shop::all_patient().await {
        let other = shop.another().await;
        let moves = join_all((0..2 * EACH).map(|n| {
            let nodes = if n % 2 == 0 { ["N1", "N2"] } else { ["N2", "N1"] };
            let shop = &shop;
            async move {
                let old = shop.refused(nodes[0], 1).await;
                let new = old.elsewhere(nodes[1]);
                (shop.rerouted(&new, 3, vec![old.units(1)]), old)
            }
        }))
        .await;
        let (events, old): (Vec<_>, Vec<Work>) = moves.into_iter().unzip();
        let (one, two) = events.split_at(EACH);
        let run = async |process: &Shop, events: &[bus::Delivered]| {
            for batch in events.chunks(5) {
                assert!(process.try_batch(batch).await, "somebody was in the way");
            }
        };
        tokio::join!(run(&shop, one), run(&other, two));
        for work in &old {
            assert_eq!(shop.kept(work).await, (0, 1));
        }
        let offered = "SELECT COUNT(*) AS n FROM fulfillment_orders WHERE state = 'OFFERED'";
        assert_eq!(shop.count(offered).await, i64::try_from(2 * EACH).unwrap());
    }
}
