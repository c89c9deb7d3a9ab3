//! A process dies between any two steps while an order goes from one store to another: in the end each piece is claimed
//! once, and what is claimed nowhere has a need.

use std::time::Instant;

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use contract::r#type::v1::Consent;
use flows::people::{legs, order_at, pause};
use flows::processes::{Processes, SERVICES};
use flows::world::NODE;
use test_world::PATIENCE;
use tonic::Code;

/// The store that takes over.
const SECOND: &str = "sha-02";
/// At which pass of a place a process dies.
const PASSES: [u8; 3] = [1, 2, 4];
const PLACES: [&str; 4] = ["commit.before", "commit.after", "relay.published", "consumer.committed"];

/// Pieces of legs that failed and have no need, or too much of it.
const WITHOUT_NEED: &str = "
SELECT COUNT(*) AS n
  FROM (SELECT order_id, leg_no, line_no, short + given_up AS failed FROM orders.order_leg_lines) AS l
  LEFT JOIN (SELECT n.order_id, n.leg_no, n_line.line_no, SUM(n_line.quantity) AS wanted
               FROM orders.order_needs n
               JOIN orders.order_need_lines n_line ON n_line.order_id = n.order_id AND n_line.need_no = n.need_no
              GROUP BY n.order_id, n.leg_no, n_line.line_no) AS w
         ON w.order_id = l.order_id AND w.leg_no = l.leg_no AND w.line_no = l.line_no
 WHERE l.failed <> COALESCE(w.wanted, 0)";

#[tokio::test(flavor = "multi_thread")]
async fn a_death_between_two_steps_of_a_reroute_neither_loses_nor_doubles_a_claim() {
    let Some(mut processes) = Processes::start().await else { return };
    let ops = processes.people("ops/test");
    for node in [NODE, SECOND] {
        ops.put_node(node).await;
        ops.stock(node, &[("TEA", 100)]).await;
    }
    processes.settle().await;
    let (mut rerouted, mut deaths) = (0, 0);
    for service in SERVICES {
        for place in PLACES {
            for pass in PASSES {
                let has_died = reroute(&mut processes, service, &format!("{place}/{pass}")).await;
                deaths += i64::from(has_died);
                rerouted += 1;
            }
        }
    }
    assert!(deaths * 2 > rerouted, "{deaths} deaths in {rerouted} reroutes");
    processes.settle().await;
    assert_eq!(processes.parked().await, 0, "no event was given up");
    let (old, new) = (ops.position(NODE, "TEA").await, ops.position(SECOND, "TEA").await);
    assert_eq!((old.reserved, new.reserved), (0, rerouted), "each piece is claimed once");
    assert_eq!(processes.count(WITHOUT_NEED).await, 0);
    assert_eq!(processes.count("SELECT COUNT(*) AS n FROM orders.order_refunds").await, 0);
    ops.audit().await;
}

/// An order of one piece is rejected by its store, and `service` dies at the place as it goes to the other store. Answers
/// whether it died: a place may have fewer passes.
async fn reroute(processes: &mut Processes, service: &'static str, drill: &str) -> bool {
    let (web, store) = (processes.people("channel/web"), processes.people("store/sha-01"));
    let mut request = order_at(NODE, &[("TEA", 1, 500)]);
    request.groups[0].consent = Some(Consent { other_node_radius_m: 5_000, ..Consent::default() });
    let order = web.insist(request).await.expect("placed");
    let order = web.offered(&order.order_id).await;
    let id = legs(&order)[0].fulfillment_id.clone();

    processes.kill(service);
    processes.spawn(service, Some(drill));
    let deadline = Instant::now() + PATIENCE;
    let (mut is_rejected, mut has_died) = (false, false);
    loop {
        assert!(Instant::now() < deadline, "{service} at {drill}: {:#?}", web.order(&order.order_id).await);
        if !has_died && processes.has_died(service) {
            has_died = true;
            processes.spawn(service, None);
        }
        if !is_rejected {
            let answer = store.reject(&id, ful::RejectReason::TooBusy).await;
            is_rejected = answer.map_or_else(|why| why.code() == Code::FailedPrecondition, |_| true);
        } else if is_at_the_second(processes, &order.order_id).await {
            break;
        }
        pause().await;
    }
    if !has_died {
        processes.kill(service);
        processes.spawn(service, None);
    }
    processes.until_ready(service).await;
    has_died
}

async fn is_at_the_second(processes: &Processes, order_id: &str) -> bool {
    let request = ord::GetOrderRequest { order_id: order_id.to_owned() };
    let found = processes.people("channel/web").clients.orders.clone().get_order(request).await;
    let order = found.map(|found| found.into_inner().order.unwrap_or_default()).unwrap_or_default();
    legs(&order).iter().any(|leg| leg.node_id == SECOND && leg.work_version > 0)
}
