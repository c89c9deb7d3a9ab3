//! How many orders a customer may have that are not paid before their goods are handed over.

use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::work_service_client::WorkServiceClient;
use contract::google::r#type::Money;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body;
use domain::id::OrderId;
use fulfillment::{Config, Secret};
use jiff::SignedDuration;
use server::Principal;
use test_world::{Staff, v7};

use crate::quota::{ask, held, quota};
use crate::react::{batch, cancelling, deliver, leg, of_orders, work};
use crate::support::{World, hold, orders, store, worlds};
use crate::work_world::pence;

const ME: &str = "customer/1";

async fn shops() -> Vec<World> {
    let mut shops = Vec::new();
    for world in worlds().await {
        let mut config = Config::default();
        config.limits.customer_unpaid_orders = 2;
        config.work.pickup_code_secret = Secret::new("a secret of the tests");
        // Offers run out here, and the store gets more all the same.
        config.work.silent_after = 0;
        let world = world.with(config).await;
        world.put(vec![pb::Node { capacity: orders(900), ..store("lon-1", 51.5, -0.1) }]).await;
        world.stock(&[("lon-1", "A", 500)]).await;
        shops.push(world);
    }
    shops
}

/// The order on a promise that is released with these terms.
fn unpaid(promise: &pb::Promise, terms: orders::PaymentTerms) -> Body {
    let mut work = work(promise);
    work.payment_terms = terms.into();
    if terms == orders::PaymentTerms::PayAtHandover {
        work.lines[0].due = Some(pence(300));
        work.due = Some(pence(300));
    }
    Body::Placed(orders::OrderPlaced { work: vec![work], ..Default::default() })
}

impl World {
    async fn may_hold(&self) -> pb::Promise {
        held(self, ME, &[("A", 3)]).await.unwrap()
    }

    async fn may_not_hold(&self, used: &str) {
        let no = held(self, ME, &[("A", 3)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNPAID_ORDERS", used, "1", "2", ""]);
    }

    async fn order(&self, terms: orders::PaymentTerms) -> (OrderId, pb::Promise) {
        let (order, promise) = (OrderId::new(v7()), self.may_hold().await);
        deliver(self, order, unpaid(&promise, terms)).await;
        (order, promise)
    }

    fn staff(&self, kind: &'static str, id: &str) -> Staff<server::Peer> {
        let peer = server::peer::acting(self.peer(), &Principal::new(kind, id));
        Staff { client: WorkServiceClient::new(peer), node: id.to_owned() }
    }
}

fn due(promise: &pb::Promise, due: Money) -> Body {
    let due = orders::LegDue { fulfillment_id: leg(promise), due: Some(due) };
    Body::Paid(orders::OrderPaid { work: vec![due], ..Default::default() })
}

#[tokio::test]
async fn an_order_counts_until_it_is_paid_or_over() {
    use orders::PaymentTerms::{OnAccount, PayAtHandover};
    for world in shops().await {
        let (second, pickup) = world.order(PayAtHandover).await;
        let (first, invoiced) = world.order(OnAccount).await;
        world.may_not_hold("2").await;
        held(&world, "customer/2", &[("A", 3)]).await.expect("each customer has a limit of its own");

        // Paid elsewhere, but for a penny; then all of it.
        deliver(&world, second, due(&pickup, pence(1))).await;
        world.may_not_hold("2").await;
        deliver(&world, second, due(&pickup, pence(0))).await;
        let token = world.may_hold().await;
        world.may_not_hold("2").await;
        // A payment that is lost makes it unpaid again.
        deliver(&world, second, due(&pickup, pence(300))).await;
        world.may_not_hold("3").await;
        deliver(&world, second, cancelling(&pickup, 1)).await;
        deliver(&world, first, cancelling(&invoiced, 1)).await;
        // The token is the one that is left; a prepaid order on it counts no more.
        deliver(&world, OrderId::new(v7()), unpaid(&token, orders::PaymentTerms::Prepaid)).await;
        let (_, third) = world.order(PayAtHandover).await;
        world.order(OnAccount).await;
        world.may_not_hold("2").await;

        let store = world.staff("store", "lon-1");
        store.accept(&leg(&third)).await.unwrap();
        store.start(&leg(&third)).await.unwrap();
        store.pick(&leg(&third), &[(1, 3, 0)]).await.unwrap();
        store.ready(&leg(&third)).await.unwrap();
        let code = world.staff("ops", "1").issue_code(&leg(&third)).await.unwrap();
        world.may_not_hold("2").await;
        let (kind, provider_ref) = ("cash".to_owned(), "till-1".to_owned());
        let cash = pb::HandOverPayment { kind, amount: Some(pence(300)), provider_ref };
        store.hand_over_for(&leg(&third), &code, &[], Some(cash)).await.unwrap();
        let (_, silent) = world.order(PayAtHandover).await;
        world.may_not_hold("2").await;
        // Nobody accepts what is left: both end.
        world.pass(SignedDuration::from_mins(20));
        world.run_due().await;
        let ended = store.get(&leg(&silent)).await.unwrap();
        assert_eq!(ended.state(), pb::FulfillmentState::TimedOut);
        world.may_hold().await;
        world.may_hold().await;
    }
}

#[tokio::test]
async fn what_a_service_holds_counts_for_the_customer_and_an_order_of_two_legs_counts_once() {
    use orders::PaymentTerms::PayAtHandover;
    for world in shops().await {
        let request = pb::HoldPromiseRequest { on_behalf_of: ME.to_owned(), ..hold("lon-1", &[("A", 3)]) };
        let promise = ask(&world, "service/orders", &request).await.unwrap();
        let order = OrderId::new(v7());
        let another = ask(&world, "service/orders", &request).await;
        assert!(another.is_ok(), "{another:?}");
        let request = pb::ReleasePromiseRequest {
            request_id: test_world::fresh(),
            promise_token: another.unwrap().promise_token,
        };
        world.promises().release_promise(test_world::by("service/orders", request)).await.unwrap();
        let second = world.may_hold().await;
        // Two promises of one order, as after a part was sourced again.
        let events = [
            of_orders(&world, order, unpaid(&promise, PayAtHandover)),
            of_orders(&world, order, unpaid(&second, PayAtHandover)),
        ];
        batch(&world, &events).await.unwrap();
        world.may_hold().await;
        world.may_not_hold("2").await;
        // Channels and stores have no such limit.
        for actor in ["channel/web", "store/lon-1"] {
            for _ in 0..3 {
                let promise = held(&world, actor, &[("A", 3)]).await.unwrap();
                deliver(&world, OrderId::new(v7()), unpaid(&promise, PayAtHandover)).await;
            }
        }
    }
}

#[tokio::test]
async fn an_order_that_comes_after_its_promise_ended_counts_all_the_same() {
    for world in shops().await {
        let promise = world.may_hold().await;
        world.pass(SignedDuration::from_mins(16));
        world.run_due().await;
        deliver(&world, OrderId::new(v7()), unpaid(&promise, orders::PaymentTerms::OnAccount)).await;
        world.may_hold().await;
        world.may_not_hold("2").await;
    }
}

#[tokio::test]
async fn what_is_sourced_again_for_an_order_is_no_new_hold_and_the_order_still_counts() {
    use orders::PaymentTerms::PayAtHandover;
    for world in shops().await {
        let (first, before) = world.order(PayAtHandover).await;
        world.order(PayAtHandover).await;
        world.may_not_hold("2").await;
        world.staff("store", "lon-1").reject(&leg(&before), pb::RejectReason::TooBusy).await.unwrap();
        // The customer has no quota left, and the service holds the pieces of its order elsewhere all the same.
        let again = ask(&world, "service/orders", &hold("lon-1", &[("A", 3)])).await.unwrap();
        assert_eq!(
            world.count("SELECT CAST(COALESCE(SUM(tokens), 0) AS BIGINT) AS n FROM hold_counts").await,
            0
        );
        let mut work = work(&again);
        work.payment_terms = PayAtHandover.into();
        (work.lines[0].due, work.due) = (Some(pence(300)), Some(pence(300)));
        let rerouted = orders::OrderRerouted { work: vec![work], ..Default::default() };
        deliver(&world, first, Body::Rerouted(rerouted)).await;
        world.may_not_hold("2").await;
        deliver(&world, first, due(&again, pence(0))).await;
        world.may_hold().await;
    }
}
