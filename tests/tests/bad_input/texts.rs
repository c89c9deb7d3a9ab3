//! Texts: what is legal comes back as it was sent, letter by letter; what can't be seen is refused.

use contract::fulfillment::v1 as ful;
use contract::inventory::v1 as inv;
use contract::orders::v1 as ord;
use entrepot::clients::money;
use flows::people::order_at;
use flows::world::{NODE, World, always_open, fresh};

use super::Said::Fields;
use super::{FULFILLMENT, INVENTORY, ORDERS, good_order, is_refused, shop, stocked};

/// Codes and names that mean something to a shell, a database, a spreadsheet, a template or a log; and twins that
/// look alike and are not the same.
const ODD: &[&str] = &[
    "'; DROP TABLE orders; --",
    "\" OR \"\"=\"",
    "1); DELETE FROM positions WHERE (1=1",
    "$1 ? :a @b {rows} {lock:p}",
    "%",
    "_",
    "\\",
    "\\0\\n\\u0000",
    "%00%0d%0a",
    "%s%n%x{}",
    "{{7*7}}",
    "${jndi:ldap://example.org/a}",
    "#{7*7}<%= 7*7 %>",
    "<script>alert(1)</script>",
    "&lt;b&gt;",
    "../../../etc/passwd",
    "..\\..\\windows",
    "|id;`id`$(id)&",
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1:A9)",
    "=cmd|' /C calc'!A0",
    "null",
    "NULL",
    "true",
    "0",
    "-0",
    "1e309",
    "NaN",
    "0x10",
    "١٢٣",
    "tea",
    "Tea",
    "TEA!",
    "ＴＥＡ",
    "caf\u{e9}",
    "cafe\u{301}",
    "\u{212b}",
    "\u{c5}",
    "stra\u{df}e",
    "strasse",
    "i\u{307}",
    "\u{131}",
    "上海 01",
    "שלום",
    "مرحبا",
    "🛒👩🏽",
    "a  b",
    "[\"a\",{}]",
    "a,b;c\"d'e",
    "entrepot/../x?y=1#z",
];

/// Texts that hide something, or can't be stored by everyone.
const HIDDEN: &[&str] = &[
    "\0",
    "a\0b",
    "a\rb",
    "a\nb",
    "a\r\nlevel=error admin=true",
    "a\tb",
    "a\u{7f}b",
    "a\u{85}b",
    "a\u{1b}[31mb",
    "a\u{200b}b",
    "a\u{200d}b",
    "\u{202e}a",
    "a\u{2066}b",
    "a\u{2028}b",
    "\u{feff}a",
    "a\u{ad}b",
    "a\u{3164}",
    "a\u{e0041}b",
    "a\u{fff9}b",
];

#[tokio::test(flavor = "multi_thread")]
async fn odd_texts_come_back_as_they_were_sent_and_stay_apart() {
    Box::pin(odd_texts_come_back(World::embedded().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_texts_come_back_as_they_were_sent_from_postgres_too() {
    if let Some(world) = World::postgres().await {
        Box::pin(odd_texts_come_back(world)).await;
    }
}

async fn odd_texts_come_back(world: World) {
    let (world, ops) = stocked(world).await;
    let stock: Vec<(&str, i64)> = ODD.iter().zip(1..).map(|(sku, pieces)| (*sku, pieces)).collect();
    ops.stock(NODE, &stock).await;
    for (sku, pieces) in &stock {
        let position = ops.position(NODE, sku).await;
        assert_eq!((position.sku.as_str(), position.on_hand), (*sku, *pieces));
        let request = inv::GetSkuRequest { sku: (*sku).to_owned() };
        let item = ops.clients.inventory.clone().get_sku(request).await.expect("it is there").into_inner();
        assert_eq!(item.sku.unwrap_or_default().name, format!("Goods {sku}"));
    }
    let web = world.clients("channel/web");
    let lines: Vec<(&str, i64, i64)> = ODD.iter().map(|sku| (*sku, 1, 100)).collect();
    let mut order = order_at(NODE, &lines);
    let text = "=${jndi:x}'; -- ../é 🛒";
    text.clone_into(&mut order.channel_order_id);
    text.clone_into(&mut order.customer_ref);
    text.clone_into(&mut order.tenders[0].provider_ref);
    text.clone_into(&mut order.tenders[0].kind);
    let charge = ord::Charge {
        code: text.to_owned(),
        description: text.to_owned(),
        amount: Some(money(0, "USD")),
        return_rule: i32::from(ord::ReturnRule::WithLastPiece),
    };
    order.charges.push(charge.clone());
    let placed = web.place(order.clone()).await;
    let find =
        ord::GetOrderByChannelIdRequest { channel: "web".to_owned(), channel_order_id: text.to_owned() };
    let found = web.clients.orders.clone().get_order_by_channel_id(find).await.expect("found").into_inner();
    let found = found.order.unwrap_or_default();
    assert_eq!(found.order_id, placed.order_id);
    let skus: Vec<&str> = found.lines.iter().map(|line| line.sku.as_str()).collect();
    assert_eq!(skus, ODD);
    assert!(found.lines.iter().all(|line| line.name == format!("Goods {}", line.sku)));
    assert_eq!((found.customer_ref.as_str(), &found.charges[..]), (text, &[charge][..]));
    assert_eq!((found.tenders[0].kind.as_str(), found.tenders[0].provider_ref.as_str()), (text, text));

    let work = web.work_of(&placed.order_id).await;
    let skus: Vec<&str> = work.lines.iter().map(|line| line.sku.as_str()).collect();
    assert_eq!((skus.as_slice(), work.channel_order_id.as_str()), (ODD, text));
    let store = world.clients("store/sha-01");
    store.prepare(&work).await;
    let code = web.code(&placed.order_id).await;
    store.hand_over(&work.fulfillment_id, &code, &[]).await.expect("handed over");
    web.order_when(&placed.order_id, |order| order.status() == ord::OrderStatus::Completed).await;
    world.settle().await;
    for (sku, pieces) in &stock {
        assert_eq!(ops.position(NODE, sku).await.on_hand, pieces - 1, "{sku}");
    }
    ops.audit().await;
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_names_of_nodes_and_reasons_come_back_as_they_were_sent() {
    let (world, ops) = shop().await;
    let nodes: Vec<ful::Node> =
        ODD.iter().map(|text| ful::Node { name: (*text).to_owned(), ..always_open(text) }).collect();
    let request = ful::PutNodesRequest { request_id: fresh(), nodes };
    ops.clients.network.clone().put_nodes(request).await.expect("they are names");
    for text in ODD {
        let request = ful::GetNodeRequest { node_id: (*text).to_owned() };
        let node = ops.clients.network.clone().get_node(request).await.expect("it is there").into_inner();
        let node = node.node.unwrap_or_default();
        assert_eq!((node.node_id.as_str(), node.name.as_str()), (*text, *text));
        let request = inv::AdjustStockRequest {
            request_id: fresh(),
            node_id: (*text).to_owned(),
            sku: "TEA".to_owned(),
            adjustment: inv::Adjustment::Count.into(),
            quantity: 1,
            reason: (*text).to_owned(),
        };
        ops.clients.inventory.clone().adjust_stock(request).await.expect("counted");
        let request = inv::ListMovementsRequest {
            node_id: (*text).to_owned(),
            sku: "TEA".to_owned(),
            ..Default::default()
        };
        let ledger =
            ops.clients.inventory.clone().list_movements(request).await.expect("listed").into_inner();
        assert_eq!(ledger.movements.iter().map(|row| row.reason.as_str()).collect::<Vec<_>>(), [*text]);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_seen_is_refused_everywhere() {
    let (world, ops) = shop().await;
    let web = world.clients("channel/web");
    for text in HIDDEN {
        let mut order = good_order();
        order.lines[0].sku = (*text).to_owned();
        order.lines[1].name = (*text).to_owned();
        order.channel_order_id = (*text).to_owned();
        order.customer_ref = (*text).to_owned();
        order.tenders[0].provider_ref = (*text).to_owned();
        let fields = Fields(&[
            "lines[0].sku",
            "lines[1].name",
            "channel_order_id",
            "customer_ref",
            "tenders[0].provider_ref",
        ]);
        let status = is_refused(&format!("{text:?}"), ORDERS, fields, web.try_place(order).await);
        let shown = server::status::violations(&status).iter().any(|bad| bad.description.contains(text));
        assert!(!shown && !status.message().contains(text), "{text:?} is said again: {status:?}");

        let sku = inv::Sku { sku: (*text).to_owned(), name: (*text).to_owned(), ..inv::Sku::default() };
        let request = inv::PutSkusRequest { request_id: fresh(), skus: vec![sku] };
        let answer = ops.clients.inventory.clone().put_skus(request).await;
        is_refused(&format!("{text:?}"), INVENTORY, Fields(&["skus[0].sku", "skus[0].name"]), answer);

        let node = ful::Node { node_id: (*text).to_owned(), ..always_open("n") };
        let request = ful::PutNodesRequest { request_id: fresh(), nodes: vec![node] };
        let answer = ops.clients.network.clone().put_nodes(request).await;
        is_refused(&format!("{text:?}"), FULFILLMENT, Fields(&["nodes[0].node_id"]), answer);
    }
    for text in [" a", "a ", "\u{3000}a", "a\u{a0}", " "] {
        let mut order = good_order();
        order.lines[0].sku = text.to_owned();
        order.channel_order_id = text.to_owned();
        let fields = Fields(&["lines[0].sku", "channel_order_id"]);
        is_refused(&format!("{text:?}"), ORDERS, fields, web.try_place(order).await);
    }
    world.stop().await;
}
