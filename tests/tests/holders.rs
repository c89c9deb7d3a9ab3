//! A promise token is of use to who holds it: knowing it is not enough.

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use flows::people::{hold_at, order_at, unpaid};
use flows::stage::Stage;
use flows::world::{NODE, People, fresh};
use tonic::{Code, Status};

everywhere! {
    (embedded, kafka, three_processes)
    nobody_places_an_order_on_the_promise_of_another_customer,
}

async fn hold(who: &People) -> String {
    let request = hold_at(NODE, "TEA", 2);
    let answer = who.clients.promise.clone().hold_promise(request).await.expect("held");
    answer.into_inner().promise.expect("a promise").promise_token
}

/// An order of a customer on a promise; a channel gives it its number.
fn on(token: &str, customer: &str, number: &str) -> ord::PlaceOrderRequest {
    ord::PlaceOrderRequest {
        groups: Vec::new(),
        promise_token: token.to_owned(),
        customer_ref: customer.to_owned(),
        channel_order_id: number.to_owned(),
        ..order_at(NODE, &[("TEA", 2, 250)])
    }
}

/// What a refusal says, all of it.
fn whole(no: &Status) -> (Code, String, Vec<u8>) {
    (no.code(), no.message().to_owned(), no.details().to_vec())
}

async fn nobody_places_an_order_on_the_promise_of_another_customer(stage: Stage) {
    let ops = stage.clients("ops/test");
    ops.stock(NODE, &[("TEA", 10)]).await;
    let (ann, bob, web) =
        (stage.clients("customer/ann"), stage.clients("customer/bob"), stage.clients("channel/web"));
    let (token, unknown) = (hold(&ann).await, "prm_0190e0a2-5b1c-7000-8000-000000000000");
    let absent = bob.try_place(unpaid(on(unknown, "bob", ""))).await.expect_err("nobody's promise");
    assert_eq!(server::status::violations(&absent)[0].field, "promise_token");
    let no = bob.try_place(unpaid(on(&token, "bob", ""))).await.expect_err("ann's promise");
    assert_eq!(whole(&no), whole(&absent), "it does not exist for bob");
    let no = web.try_place(on(&token, "bob", &fresh())).await.expect_err("ann's promise");
    assert_eq!(whole(&no), whole(&absent), "nor for a channel that sells to bob");
    let seen = ful::GetPromiseTokenRequest { promise_token: token.clone() };
    let held = ann.clients.promise.clone().get_promise_token(seen).await.expect("it is ann's").into_inner();
    let held = held.promise.expect("a promise");
    assert_eq!(
        (held.state(), held.owner.as_str()),
        (ful::PromiseState::Live, ""),
        "and nothing happened to it"
    );
    let no = ann.try_place(on(&token, "ann", "")).await.expect_err("a customer reports no money");
    assert_eq!(server::status::violations(&no)[0].field, "tenders[0].state");
    assert!(ann.try_place(unpaid(on(&token, "ann", ""))).await.is_ok());
    let token = hold(&ann).await;
    assert!(web.try_place(on(&token, "ann", &fresh())).await.is_ok(), "her channel orders for her");
    stage.settle().await;
    assert_eq!(ops.position(NODE, "TEA").await.reserved, 4);
    ops.audit().await;
    stage.stop().await;
}
