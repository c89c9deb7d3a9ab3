//! Page and resume tokens: changed, cut, swollen, or from another question.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use flows::people::order_at;
use flows::world::{NODE, People};
use tonic::Status;

use super::Said::Fields;
use super::{FULFILLMENT, INVENTORY, ORDERS, is_refused, shop};

/// What a good token becomes in other hands, and tokens that never were good.
fn spoilt(good: &str) -> Vec<String> {
    let flipped = |at: usize| {
        let mut bytes = good.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).expect("digits stay digits")
    };
    let mut bad = vec![
        flipped(0),
        flipped(good.len() / 2),
        flipped(good.len() - 1),
        good[..good.len() - 2].to_owned(),
        good[2..].to_owned(),
        format!("{good}00"),
        format!("{good}{good}"),
        format!(" {good}"),
        "0".to_owned(),
        "00".to_owned(),
        "zz".repeat(good.len() / 2),
        "+1".repeat(good.len() / 2),
        "-1".repeat(good.len() / 2),
        "é".repeat(good.len() / 2),
        "０".repeat(good.len() / 3),
        "\0".to_owned(),
        "'; DROP TABLE orders; --".to_owned(),
        "../../etc/passwd".to_owned(),
        "0".repeat(100_000),
    ];
    bad.retain(|token| token != good);
    bad
}

/// Each spoilt token and each foreign one is refused by name; the good one is taken.
async fn tokens<A>(
    domain: &str,
    good: &str,
    foreign: &[String],
    call: impl AsyncFn(String) -> Result<A, Status>,
) {
    assert!(!good.is_empty(), "the first page must not be the last");
    for token in spoilt(good).iter().chain(foreign.iter().filter(|token| !token.is_empty())) {
        is_refused(
            &format!("page token {token:.80?}"),
            domain,
            Fields(&["page_token"]),
            call(token.clone()).await,
        );
    }
    call(good.to_owned()).await.expect("the good token is taken");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_orders_is_good_for_its_own_list_alone() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    for _ in 0..3 {
        web.place(order_at(NODE, &[("TEA", 1, 100)])).await;
    }
    world.settle().await;
    let orders = &ops.clients.orders;
    let list = async |filter: Option<ord::OrderFilter>, page_token| {
        let answer =
            orders.clone().list_orders(ord::ListOrdersRequest { page_size: 1, page_token, filter }).await?;
        Ok::<_, Status>(answer.into_inner())
    };
    let all = list(None, String::new()).await.expect("listed").next_page_token;
    let of_web = Some(ord::OrderFilter { channel: "web".to_owned(), ..Default::default() });
    let filtered = list(of_web.clone(), String::new()).await.expect("listed").next_page_token;
    let order_id = list(None, String::new()).await.expect("listed").orders[0].order_id.clone();
    let steps = async |order_id: String, page_token| {
        let request = ord::ListOrderTimelineRequest { order_id, page_size: 1, page_token };
        Ok::<_, Status>(orders.clone().list_order_timeline(request).await?.into_inner())
    };
    let timeline = steps(order_id.clone(), String::new()).await.expect("listed").next_page_token;
    let ours = [filtered.clone(), timeline.clone()];
    tokens(ORDERS, &all, &ours, async |token| list(None, token).await).await;
    tokens(ORDERS, &filtered, std::slice::from_ref(&all), async |token| list(of_web.clone(), token).await)
        .await;
    tokens(ORDERS, &timeline, std::slice::from_ref(&all), async |token| steps(order_id.clone(), token).await)
        .await;
    let other = list(None, all).await.expect("the second page").orders[0].order_id.clone();
    let answer = steps(other, timeline).await;
    is_refused("the timeline of another order", ORDERS, Fields(&["page_token"]), answer);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_stock_is_good_for_its_own_list_alone() {
    let (world, ops) = shop().await;
    for node in ["n-1", "n-2"] {
        ops.stock(node, &[("TEA", 1), ("CUP", 1)]).await;
    }
    let stock = &ops.clients.inventory;
    let skus =
        async |page_token| stock.clone().list_skus(inv::ListSkusRequest { page_size: 1, page_token }).await;
    let everywhere = async |sku: &str, page_token| {
        let request = inv::ListAvailabilityRequest { sku: sku.to_owned(), page_size: 1, page_token };
        stock.clone().list_availability(request).await
    };
    let moved = async |sku: &str, page_token| {
        let request = inv::ListMovementsRequest {
            node_id: NODE.to_owned(),
            sku: sku.to_owned(),
            page_size: 1,
            page_token,
        };
        stock.clone().list_movements(request).await
    };
    adjust_twice(&ops).await;
    let a = skus(String::new()).await.expect("listed").into_inner().next_page_token;
    let b = everywhere("TEA", String::new()).await.expect("listed").into_inner().next_page_token;
    let c = moved("TEA", String::new()).await.expect("listed").into_inner().next_page_token;
    let cup = everywhere("CUP", String::new()).await.expect("listed").into_inner().next_page_token;
    tokens(INVENTORY, &a, &[b.clone(), c.clone()], &skus).await;
    tokens(INVENTORY, &b, &[a.clone(), c.clone(), cup], async |token| everywhere("TEA", token).await).await;
    tokens(INVENTORY, &c, &[a, b], async |token| moved("TEA", token).await).await;
    is_refused("another SKU", INVENTORY, Fields(&["page_token"]), moved("CUP", c).await);
    world.stop().await;
}

async fn adjust_twice(ops: &People) {
    for _ in 0..2 {
        let request = inv::AdjustStockRequest {
            request_id: flows::world::fresh(),
            node_id: NODE.to_owned(),
            sku: "TEA".to_owned(),
            adjustment: inv::Adjustment::Delta.into(),
            quantity: 1,
            reason: "found".to_owned(),
        };
        ops.clients.inventory.clone().adjust_stock(request).await.expect("adjusted");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_token_of_work_or_nodes_is_good_for_its_own_list_alone() {
    let (world, ops) = shop().await;
    ops.put_node("sha-02").await;
    let web = world.clients("channel/web");
    for _ in 0..2 {
        let order = web.place(order_at(NODE, &[("TEA", 1, 100)])).await;
        web.work_of(&order.order_id).await;
    }
    let work = async |node_id: &str, states: &[i32], page_token| {
        let (node_id, states) = (node_id.to_owned(), states.to_vec());
        ops.clients
            .work
            .clone()
            .list_work(ful::ListWorkRequest { node_id, states, page_size: 1, page_token })
            .await
    };
    let open = work(NODE, &[], String::new()).await.expect("listed").into_inner().next_page_token;
    let offered = work(NODE, &[2], String::new()).await.expect("listed").into_inner().next_page_token;
    tokens(FULFILLMENT, &open, std::slice::from_ref(&offered), async |token| work(NODE, &[], token).await)
        .await;
    tokens(FULFILLMENT, &offered, std::slice::from_ref(&open), async |token| work(NODE, &[2], token).await)
        .await;
    is_refused("another node", FULFILLMENT, Fields(&["page_token"]), work("sha-02", &[], open.clone()).await);

    let nodes = async |page_token| {
        ops.clients.network.clone().list_nodes(ful::ListNodesRequest { page_size: 1, page_token }).await
    };
    let next = nodes(String::new()).await.expect("listed").into_inner().next_page_token;
    tokens(FULFILLMENT, &next, &[open], nodes).await;
    world.stop().await;
}
