//! A store names the part of a kit that is short, or that it refuses the work for.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::orders::v1 as orders;
use domain::id::{FulfillmentId, OrderId, PromiseToken};
use pb::fulfillment_event::Body;
use test_world::{by, fields, fresh, v7};

use crate::react::{deliver, leg, work};
use crate::support::{World, store, worlds};

const STORE: &str = "store/lon-1";

async fn shops() -> Vec<World> {
    let worlds = worlds().await;
    for world in &worlds {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.inventory.put_kit("BOX", &[("A", 2), ("B", 1)]);
        world.stock(&[("lon-1", "A", 50), ("lon-1", "B", 50)]).await;
    }
    worlds
}

impl World {
    /// Work for three boxes, and a plain item on line 2.
    async fn boxes(&self) -> String {
        let promise_token = PromiseToken::new(v7()).to_string();
        let promise = pb::Promise { promise_token, ..Default::default() };
        let mut work = work(&promise);
        work.lines[0].sku = "BOX".to_owned();
        let plain = orders::WorkLine { line: 2, sku: "B".to_owned(), quantity: 1, ..work.lines[0].clone() };
        work.lines.push(plain);
        let placed = orders::OrderPlaced { work: vec![work], ..Default::default() };
        deliver(self, OrderId::new(v7()), orders::order_event::Body::Placed(placed)).await;
        leg(&promise)
    }

    fn work_client(&self) -> WorkServiceClient<server::Peer> {
        WorkServiceClient::new(self.peer())
    }

    async fn last(&self, leg: &str) -> Body {
        let id = leg.parse::<FulfillmentId>().unwrap().uuid();
        let events = self.appended::<pb::FulfillmentEvent>().await.into_iter();
        let last = events.filter(|event| event.aggregate == id).max_by_key(|event| event.sequence);
        last.unwrap().body.body.unwrap()
    }
}

#[tokio::test]
async fn the_part_that_is_short_is_told_and_one_that_the_line_does_not_have_is_refused() {
    for world in shops().await {
        let (leg, mut client) = (world.boxes().await, world.work_client());
        let accept = pb::AcceptWorkRequest { request_id: fresh(), fulfillment_id: leg.clone() };
        client.accept_work(by(STORE, accept)).await.unwrap();
        let start = pb::StartPickingRequest { request_id: fresh(), fulfillment_id: leg.clone() };
        client.start_picking(by(STORE, start)).await.unwrap();
        let short = |line, sku: &str| pb::PickLinesRequest {
            request_id: fresh(),
            fulfillment_id: leg.clone(),
            lines: vec![pb::PickLine {
                line,
                picked: 0,
                short: 1,
                short_reason: pb::ShortReason::Damaged.into(),
                sku: sku.to_owned(),
            }],
        };
        for (line, sku) in [(1, "C"), (1, "BOX"), (2, "A"), (1, "\u{7}")] {
            let no = client.pick_lines(by(STORE, short(line, sku))).await.unwrap_err();
            assert_eq!(fields(&no), ["lines[0].sku"], "{line} {sku}");
        }
        for (line, sku) in [(1, "A"), (1, ""), (2, "B")] {
            client.pick_lines(by(STORE, short(line, sku))).await.unwrap();
            let Body::Moved(moved) = world.last(&leg).await else { panic!() };
            assert_eq!((moved.lines[0].short, moved.lines[0].sku.as_str()), (1, sku));
        }
    }
}

#[tokio::test]
async fn a_refusal_says_which_lines_and_parts_it_is_about() {
    for world in shops().await {
        let (leg, mut client) = (world.boxes().await, world.work_client());
        let named = |line, sku: &str| pb::RejectedLine { line, sku: sku.to_owned() };
        let reject = |lines: &[pb::RejectedLine]| pb::RejectWorkRequest {
            request_id: fresh(),
            fulfillment_id: leg.clone(),
            reason: pb::RejectReason::Damaged.into(),
            note: String::new(),
            lines: lines.to_vec(),
        };
        for (lines, bad) in [
            (vec![named(1, "C")], vec!["lines[0].sku"]),
            (vec![named(1, "A"), named(7, "")], vec!["lines[1].line"]),
            (vec![named(1, "A"), named(1, "B")], vec!["lines[1].line"]),
        ] {
            assert_eq!(fields(&client.reject_work(by(STORE, reject(&lines))).await.unwrap_err()), bad);
        }
        let lines = [named(1, "B"), named(2, "")];
        let rejected = client.reject_work(by(STORE, reject(&lines))).await.unwrap().into_inner();
        assert_eq!(rejected.fulfillment_order.unwrap().state(), pb::FulfillmentState::Rejected);
        let Body::Rejected(event) = world.last(&leg).await else { panic!() };
        assert_eq!(event.lines, lines);
    }
}
