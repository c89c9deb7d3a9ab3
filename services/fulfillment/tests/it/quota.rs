//! How much one caller may hold: counted with the token, and counted no more when the token ends, however it ends.

use std::collections::BTreeMap;
use std::sync::Arc;

use contract::fulfillment::v1 as pb;
use contract::orders::v1 as orders;
use contract::orders::v1::order_event::Body;
use domain::id::OrderId;
use fulfillment::{Config, Fulfillment};
use futures_util::future::join_all;
use jiff::SignedDuration;
use prost::Message as _;
use test_world::{by, fresh, reason, stamp, v7};
use tonic::{Code, Status};

use crate::react::{batch, deliver, leg, of_orders, placed};
use crate::support::{World, group, hold, orders, promises, store, worlds};

const ORDERS: &str = "service/orders";

/// Three tokens, ten pieces, six of one SKU; a channel may have twice as much.
fn small(config: &mut Config) {
    let limits = &mut config.limits;
    (limits.customer_tokens, limits.customer_units, limits.customer_units_per_sku) = (3, 10, 6);
    (limits.channel_tokens, limits.channel_units, limits.channel_units_per_sku) = (6, 20, 12);
}

async fn shops() -> Vec<World> {
    let mut shops = Vec::new();
    for world in worlds().await {
        let mut config = Config::default();
        small(&mut config);
        let world = world.with(config).await;
        world.put(vec![pb::Node { capacity: orders(900), ..store("lon-1", 51.5, -0.1) }]).await;
        world.stock(&[("lon-1", "A", 500), ("lon-1", "B", 500), ("lon-1", "C", 1)]).await;
        shops.push(world);
    }
    shops
}

pub(crate) async fn ask(
    world: &World,
    actor: &str,
    request: &pb::HoldPromiseRequest,
) -> Result<pb::Promise, Status> {
    let answer = world.promises().hold_promise(by(actor, request.clone())).await?;
    Ok(answer.into_inner().promise.unwrap())
}

pub(crate) async fn held(world: &World, actor: &str, lines: &[(&str, i64)]) -> Result<pb::Promise, Status> {
    ask(world, actor, &hold("lon-1", lines)).await
}

async fn release(world: &World, actor: &str, promise: &pb::Promise) -> Result<(), Status> {
    let request =
        pb::ReleasePromiseRequest { request_id: fresh(), promise_token: promise.promise_token.clone() };
    world.promises().release_promise(by(actor, request)).await.map(drop)
}

async fn confirm(world: &World, promise: &pb::Promise, order: OrderId) -> Result<(), Status> {
    let request = pb::ConfirmPromiseRequest {
        request_id: fresh(),
        promise_token: promise.promise_token.clone(),
        order_id: order.to_string(),
    };
    world.promises().confirm_promise(by(ORDERS, request)).await.map(drop)
}

async fn extend(world: &World, promise: &pb::Promise, minutes: i64) -> Result<(), Status> {
    let request = pb::ExtendPromiseRequest {
        request_id: fresh(),
        promise_token: promise.promise_token.clone(),
        expire_time: Some(stamp(world.now() + SignedDuration::from_mins(minutes))),
    };
    world.promises().extend_promise(by(ORDERS, request)).await.map(drop)
}

/// What a refusal says: what is limited, how much is used, how much was asked for, the limit, the SKU.
pub(crate) fn quota(no: &Status) -> [String; 5] {
    assert_eq!((no.code(), reason(no).as_str()), (Code::ResourceExhausted, "HOLD_QUOTA"), "{no:?}");
    let facts = server::status::facts(no);
    ["what", "used", "asked", "limit", "sku"].map(|name| facts.get(name).cloned().unwrap_or_default())
}

/// Tokens and pieces by caller and SKU; all SKUs under an empty one.
type Held = BTreeMap<(String, String), (i64, i64)>;

async fn counted(world: &World) -> Held {
    let rows =
        world.rows("SELECT owner, sku, tokens, units FROM hold_counts WHERE tokens > 0 OR units > 0").await;
    let read = |row: &db::Row| {
        let (owner, sku) = (row.get("owner").unwrap(), row.get("sku").unwrap());
        ((owner, sku), (row.get("tokens").unwrap(), row.get("units").unwrap()))
    };
    rows.iter().map(read).collect()
}

/// What the tokens of callers with a quota add up to that wait for an order.
async fn waiting(world: &World) -> Held {
    let mut sums = Held::new();
    for row in world.rows("SELECT owner, state, body, counted_for FROM promises").await {
        let owner: String = row.get("owner").unwrap();
        let counted_for: Option<String> = row.get("counted_for").unwrap();
        let owner = counted_for.clone().filter(|_| owner == ORDERS).unwrap_or(owner);
        let state: String = row.get("state").unwrap();
        let has_quota = owner.starts_with("customer/") || owner.starts_with("channel/");
        let waits = ["PENDING", "LIVE"].contains(&state.as_str());
        assert_eq!(counted_for, (has_quota && waits).then(|| owner.clone()), "{owner} {state}");
        if !has_quota || !waits {
            continue;
        }
        let cart = pb::Promise::decode(row.get::<Vec<u8>>("body").unwrap().as_slice()).unwrap();
        let mut skus: BTreeMap<String, i64> = BTreeMap::new();
        for line in &cart.lines {
            *skus.entry(line.sku.clone()).or_default() += line.quantity;
        }
        skus.insert(String::new(), skus.values().sum());
        for (sku, units) in skus {
            let sum = sums.entry((owner.clone(), sku)).or_default();
            *sum = (sum.0 + 1, sum.1 + units);
        }
    }
    sums
}

async fn audit(world: &World) {
    assert_eq!(counted(world).await, waiting(world).await);
}

#[tokio::test]
async fn a_customer_holds_up_to_the_limit_and_is_refused_with_what_it_holds() {
    for world in shops().await {
        let first = held(&world, "customer/1", &[("A", 4)]).await.unwrap();
        let no = held(&world, "customer/1", &[("A", 1), ("B", 1), ("A", 2)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "4", "3", "6", "A"]);
        assert!(no.message().contains("at most 6 units of sku A at once; it holds 4"), "{}", no.message());
        let no = held(&world, "customer/1", &[("A", 1), ("B", 6)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS", "4", "7", "10", ""]);
        held(&world, "customer/1", &[("A", 2)]).await.unwrap();
        let request = hold("lon-1", &[("B", 2)]);
        let third = ask(&world, "customer/1", &request).await.unwrap();
        let no = held(&world, "customer/1", &[("B", 1)]).await.unwrap_err();
        assert_eq!(quota(&no), ["TOKENS", "3", "1", "3", ""]);
        let again = ask(&world, "customer/1", &request).await.unwrap();
        assert_eq!(again.promise_token, third.promise_token, "a repeated request is no second hold");
        held(&world, "customer/2", &[("A", 6)]).await.expect("each customer has a quota of its own");
        audit(&world).await;
        release(&world, "customer/1", &first).await.unwrap();
        held(&world, "customer/1", &[("A", 4)]).await.expect("what was released counts no more");
        let stock = (world.inventory.reserved("lon-1", "A"), world.inventory.reserved("lon-1", "B"));
        assert_eq!(stock, (12, 2), "a refusal holds nothing");
        audit(&world).await;
    }
}

#[tokio::test]
async fn a_cart_that_is_too_large_alone_is_refused_and_so_are_its_groups_together() {
    for world in shops().await {
        let no = held(&world, "customer/1", &[("A", 7)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "0", "7", "6", "A"]);
        let part = |number, quantity| pb::CartGroup {
            lines: vec![contract::r#type::v1::LineQuantity { line: 1, quantity }],
            ..group(number, "lon-1")
        };
        let request =
            pb::HoldPromiseRequest { groups: vec![part(1, 4), part(2, 3)], ..hold("lon-1", &[("A", 7)]) };
        let no = ask(&world, "customer/1", &request).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "0", "7", "6", "A"]);
        assert_eq!((world.inventory.held(), world.taken().await), (0, 0));
        audit(&world).await;
    }
}

#[tokio::test]
async fn a_channel_has_a_limit_of_its_own_and_stores_services_and_operators_have_none() {
    for world in shops().await {
        for actor in ["store/lon-1", ORDERS, "ops/1"] {
            for _ in 0..8 {
                held(&world, actor, &[("A", 7)]).await.unwrap();
            }
        }
        assert_eq!(counted(&world).await, Held::new());
        held(&world, "channel/web", &[("A", 12)]).await.unwrap();
        let no = held(&world, "channel/web", &[("A", 1)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "12", "1", "12", "A"]);
        held(&world, "channel/app", &[("A", 1)]).await.unwrap();
        audit(&world).await;
    }
}

#[tokio::test]
async fn what_a_service_holds_for_a_customer_counts_for_the_customer() {
    for world in shops().await {
        let on_behalf = |holder: &str, lines: &[(&str, i64)]| pb::HoldPromiseRequest {
            on_behalf_of: holder.to_owned(),
            ..hold("lon-1", lines)
        };
        let placed_on = ask(&world, ORDERS, &on_behalf("customer/1", &[("A", 4)])).await.unwrap();
        let no = ask(&world, ORDERS, &on_behalf("customer/1", &[("A", 3)])).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "4", "3", "6", "A"]);
        let no = held(&world, "customer/1", &[("A", 3)]).await.unwrap_err();
        assert_eq!(quota(&no), ["UNITS_PER_SKU", "4", "3", "6", "A"], "its tokens and its orders add up");
        for holder in ["store/lon-1", "ops/1", "anonymous/anonymous"] {
            ask(&world, ORDERS, &on_behalf(holder, &[("A", 7)])).await.unwrap();
        }
        audit(&world).await;
        for caller in ["customer/1", "channel/web", "store/lon-1", "ops/1"] {
            let no = ask(&world, caller, &on_behalf("customer/2", &[("A", 1)])).await.unwrap_err();
            assert_eq!(test_world::fields(&no), ["on_behalf_of"], "{caller}");
        }
        let no = ask(&world, ORDERS, &on_behalf("joe@example.com", &[("A", 1)])).await.unwrap_err();
        assert_eq!(test_world::fields(&no), ["on_behalf_of"]);
        deliver(&world, OrderId::new(v7()), placed(&placed_on, false)).await;
        assert_eq!(counted(&world).await, Held::new(), "the order is paid, or due at the handover");
        let lapsing = ask(&world, ORDERS, &on_behalf("customer/1", &[("A", 4)])).await.unwrap();
        let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&lapsing)] };
        deliver(&world, OrderId::new(v7()), Body::PaymentLapsed(lapsed)).await;
        assert_eq!(counted(&world).await, Held::new());
        audit(&world).await;
    }
}

#[tokio::test]
async fn however_a_token_ends_it_counts_no_more() {
    for world in shops().await {
        let me = "customer/1";
        let free = async || assert_eq!(counted(&world).await, Held::new());
        release(&world, me, &held(&world, me, &[("A", 6)]).await.unwrap()).await.unwrap();
        free().await;
        let promise = held(&world, me, &[("A", 6)]).await.unwrap();
        confirm(&world, &promise, OrderId::new(v7())).await.unwrap();
        free().await;
        // Confirmed for an order that never comes: it ends once.
        world.pass(SignedDuration::from_mins(16));
        world.run_due().await;
        free().await;
        let promise = held(&world, me, &[("A", 6)]).await.unwrap();
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        free().await;
        let promise = held(&world, me, &[("A", 6)]).await.unwrap();
        extend(&world, &promise, 20).await.unwrap();
        assert_eq!(counted(&world).await, waiting(&world).await, "an order on its way still counts");
        let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&promise)] };
        deliver(&world, OrderId::new(v7()), Body::PaymentLapsed(lapsed)).await;
        free().await;
        held(&world, me, &[("C", 2)]).await.unwrap_err();
        world.inventory.put("lon-1", "C", 0);
        let no = held(&world, me, &[("C", 1)]).await.unwrap_err();
        assert_eq!(reason(&no), "NO_STOCK", "found by inventory, when the token was written");
        free().await;
        world.inventory.lose_answers("Reserve", 3);
        held(&world, me, &[("A", 6)]).await.unwrap_err();
        audit(&world).await;
        assert_eq!(counted(&world).await.len(), 2, "one whose stock is being asked for counts");
        world.pass(SignedDuration::from_secs(30));
        world.run_due().await;
        free().await;
        let promise = held(&world, me, &[("A", 6)]).await.unwrap();
        world.pass(SignedDuration::from_mins(15));
        world.run_due().await;
        free().await;
        // An order that was placed in time takes what had ended.
        deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
        free().await;
        let promise = held(&world, me, &[("A", 6)]).await.unwrap();
        let pause = world.inventory.pause_answer("ExtendReservation");
        let (late, ()) = tokio::join!(confirm(&world, &promise, OrderId::new(v7())), async {
            pause.reached().await;
            world.pass(SignedDuration::from_mins(15));
            pause.go_on();
        });
        assert_eq!(reason(&late.unwrap_err()), "PROMISE_EXPIRED");
        free().await;
        audit(&world).await;
    }
}

#[tokio::test]
async fn two_orders_of_one_batch_end_the_counts_of_their_tokens_together() {
    for world in shops().await {
        let first = held(&world, "customer/1", &[("A", 2), ("B", 1)]).await.unwrap();
        let second = held(&world, "customer/1", &[("A", 3)]).await.unwrap();
        let third = held(&world, "customer/1", &[("A", 1)]).await.unwrap();
        let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&third)] };
        let events = [
            of_orders(&world, OrderId::new(v7()), placed(&first, false)),
            of_orders(&world, OrderId::new(v7()), Body::PaymentLapsed(lapsed)),
            of_orders(&world, OrderId::new(v7()), placed(&second, false)),
        ];
        batch(&world, &events).await.unwrap();
        assert_eq!(counted(&world).await, Held::new());
        audit(&world).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_callers_at_one_quota_hold_exactly_the_limit() {
    for world in shops().await {
        let mut config = Config::default();
        (config.limits.customer_tokens, config.limits.customer_units_per_sku) = (0, 12);
        let another = another(&world, config.clone()).await;
        let world = world.with(config).await;
        let calls = (0..64).map(|n: u32| {
            let mut client = if n.is_multiple_of(2) { promises(&another) } else { world.promises() };
            // Two pieces of A each: of the first, of the second line, in the other order.
            let lines: &[(&str, i64)] = match n % 3 {
                0 => &[("A", 2)],
                1 => &[("A", 2), ("B", 1)],
                _ => &[("B", 1), ("A", 2)],
            };
            let request = hold("lon-1", lines);
            tokio::spawn(async move { client.hold_promise(by("customer/1", request)).await })
        });
        let mut tokens = Vec::new();
        for answer in join_all(calls.collect::<Vec<_>>()).await {
            match answer.unwrap() {
                Ok(answer) => tokens.push(answer.into_inner().promise.unwrap()),
                Err(no) => assert_eq!(quota(&no)[3], "12"),
            }
        }
        assert_eq!((tokens.len(), world.inventory.reserved("lon-1", "A")), (6, 12));
        audit(&world).await;
        let ends = tokens.iter().map(|token| release(&world, "customer/1", token));
        assert!(join_all(ends).await.iter().all(Result::is_ok));
        assert_eq!(counted(&world).await, Held::new());
    }
}

async fn another(world: &World, config: Config) -> Arc<Fulfillment> {
    let peers = fulfillment::Peers { inventory: world.inventory.peer() };
    let service =
        Fulfillment::new(world.db.reopen().await, world.clock.clone(), config, peers).await.unwrap();
    service.load_stock().await.unwrap();
    service
}

#[tokio::test]
async fn who_has_no_limit_is_not_counted_by_any_statement() {
    for world in worlds().await {
        world.put(vec![store("lon-1", 51.5, -0.1)]).await;
        world.stock(&[("lon-1", "A", 10)]).await;
        // Whatever reads or writes counts fails from now on.
        let mut tx = world.db.begin().await.unwrap();
        tx.execute("DROP TABLE hold_counts", db::params![]).await.unwrap();
        tx.commit().await.unwrap();
        for actor in ["channel/web", ORDERS] {
            let promise = held(&world, actor, &[("A", 1)]).await.unwrap();
            release(&world, actor, &promise).await.unwrap();
            let promise = held(&world, actor, &[("A", 1)]).await.unwrap();
            deliver(&world, OrderId::new(v7()), placed(&promise, false)).await;
            let promise = held(&world, actor, &[("A", 1)]).await.unwrap();
            confirm(&world, &promise, OrderId::new(v7())).await.unwrap();
            world.inventory.shed(1);
            held(&world, actor, &[("A", 1)]).await.unwrap_err();
            let promise = held(&world, actor, &[("A", 1)]).await.unwrap();
            extend(&world, &promise, 18).await.unwrap();
            world.pass(SignedDuration::from_mins(20));
            world.run_due().await;
        }
        held(&world, "customer/1", &[("A", 1)]).await.unwrap_err();
    }
}

#[tokio::test]
async fn counts_of_nothing_are_forgotten_after_an_hour_and_begin_again() {
    for world in shops().await {
        const ROWS: &str = "SELECT COUNT(*) AS n FROM hold_counts";
        let promise = held(&world, "customer/1", &[("A", 1)]).await.unwrap();
        held(&world, "customer/2", &[("A", 1)]).await.unwrap();
        release(&world, "customer/1", &promise).await.unwrap();
        world.service.prune_feed(world.now()).await.unwrap();
        assert_eq!(world.count(ROWS).await, 4);
        world.pass(SignedDuration::from_mins(61));
        world.service.prune_feed(world.now()).await.unwrap();
        assert_eq!(world.count(ROWS).await, 2, "customer/2 still holds something, as far as is known");
        held(&world, "customer/1", &[("A", 6)]).await.unwrap();
        audit(&world).await;
    }
}

/// Numbers that look random, from a seed (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % sides
    }

    fn of<T: Clone>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.throw(choices.len() as u64)).unwrap()].clone()
    }
}

const ACTORS: &[&str] = &["customer/1", "customer/2", "channel/web", "store/lon-1", ORDERS];

/// One thing that happens; whether it is granted is not the question.
async fn step(world: &World, dice: &mut Dice, known: &mut Vec<(&'static str, pb::Promise)>) {
    let order = OrderId::new(v7());
    if known.is_empty() || dice.throw(3) == 0 {
        let actor = dice.of(ACTORS);
        let some =
            |dice: &mut Dice| (dice.of(&["A", "A", "B", "C"]), 1 + i64::try_from(dice.throw(4)).unwrap());
        let lines: Vec<_> = (0..=dice.throw(2)).map(|_| some(dice)).collect();
        let for_somebody = actor == ORDERS && dice.throw(2) == 0;
        let on_behalf_of = if for_somebody { dice.of(ACTORS).to_owned() } else { String::new() };
        let request = pb::HoldPromiseRequest { on_behalf_of, ..hold("lon-1", &lines) };
        match dice.throw(8) {
            0 => world.inventory.lose_answers("Reserve", 3),
            1 => world.inventory.shed(1),
            _ => {}
        }
        let answer = ask(world, actor, &request).await;
        let again = if dice.throw(4) == 0 { ask(world, actor, &request).await } else { answer };
        known.extend(again.into_iter().map(|promise| (actor, promise)));
        return;
    }
    let (owner, promise) = dice.of(known);
    let lapsed = orders::OrderPaymentLapsed { fulfillment_ids: vec![leg(&promise)] };
    // What is refused is refused: the counts must be right all the same.
    match dice.throw(7) {
        0 => drop(release(world, owner, &promise).await),
        1 => drop(release(world, ORDERS, &promise).await),
        2 => drop(confirm(world, &promise, order).await),
        3 => drop(extend(world, &promise, 20).await),
        4 => deliver(world, order, placed(&promise, false)).await,
        5 => deliver(world, order, Body::PaymentLapsed(lapsed)).await,
        _ => {
            world.pass(SignedDuration::from_mins(1 + i64::try_from(dice.throw(8)).unwrap()));
            world.run_due().await;
        }
    }
}

#[tokio::test]
async fn after_any_walk_the_counts_are_those_of_the_tokens_that_wait() {
    for world in shops().await {
        let (mut dice, mut known, mut most) = (Dice(7), Vec::new(), 0);
        for n in 0..160 {
            step(&world, &mut dice, &mut known).await;
            let counted = counted(&world).await;
            assert_eq!(counted, waiting(&world).await, "after step {n}");
            for ((owner, sku), (tokens, units)) in &counted {
                let times = if owner.starts_with("channel/") { 2 } else { 1 };
                let limit = if sku.is_empty() { 10 } else { 6 };
                assert!(*tokens <= 3 * times && *units <= limit * times, "{owner} {sku}: {tokens}, {units}");
            }
            most = most.max(counted.len());
        }
        assert!(most >= 5, "the walk would prove nothing if little were ever held: {most}");
    }
}
