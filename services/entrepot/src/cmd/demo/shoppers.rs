//! Storefronts: they ask what can be promised near a customer and place orders, some by token, some at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clock::Clock;
use contract::fulfillment::v1 as ful;
use contract::google::r#type::LatLng;
use contract::orders::v1 as ord;
use contract::r#type::v1::{Consent, Method, Place};
use tonic::Status;

use super::figures::Tally;
use super::retailer::{CURRENCY, place, price, sku, wanted};
use crate::clients::{Clients, instant, money};

/// How far from the store of their choice customers collect without being asked, in metres.
const AGREED_M: i64 = 15_000;

/// Customers who are asked what to do about pieces take the rest without them. Answers whether an order still waits for an
/// answer, or for pieces that are looked for.
pub(crate) async fn answer(clients: &Clients, order: &ord::Order) -> Result<bool, Status> {
    let is_open = |need: &&ord::Need| matches!(need.state(), ord::NeedState::Seeking | ord::NeedState::Asked);
    if !order.needs.iter().any(|need| is_open(&need)) {
        return Ok(false);
    }
    let asked = ord::ListOptionsRequest { order_id: order.order_id.clone() };
    let options = clients.orders.clone().list_options(asked).await?.into_inner().options;
    for option in options.into_iter().filter(|option| option.kind() == ord::OptionKind::Drop) {
        let choose = ord::ChooseOptionRequest {
            request_id: fresh(&mut fastrand::Rng::new()),
            order_id: order.order_id.clone(),
            option_id: option.option_id,
        };
        match clients.orders.clone().choose_option(choose).await {
            Ok(_) => {}
            // Pieces were found meanwhile.
            Err(status) if status.code() == tonic::Code::FailedPrecondition => {}
            Err(status) => return Err(status),
        }
    }
    Ok(true)
}

/// Places orders until `left` is used up.
pub(crate) async fn shop(clients: Clients, tally: Arc<Tally>, left: Arc<AtomicU64>, run: String, seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        let taken = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        let Ok(number) = taken else { return };
        let order = format!("{run}-{number}");
        if let Err(status) = buy(&clients, &tally, &mut rng, &order).await {
            match server::status::reason(&status) {
                Some(reason) if status.code() == tonic::Code::FailedPrecondition => tally.refused(&reason),
                _ => tally.fault(&format!("place: {:?} {}", status.code(), status.message())),
            }
        }
    }
}

/// Places orders at a steady rate, without end.
pub(crate) async fn stroll(
    clients: Clients,
    tally: Arc<Tally>,
    run: String,
    seed: u64,
    pause: Duration,
    clock: Clock,
) -> std::convert::Infallible {
    let left = Arc::new(AtomicU64::new(0));
    let mut rng = fastrand::Rng::with_seed(seed);
    loop {
        clock.pause(pause).await;
        left.fetch_add(1, Ordering::Relaxed);
        shop(
            clients.clone(),
            Arc::clone(&tally),
            Arc::clone(&left),
            format!("{run}-{}", rng.u64(..)),
            rng.u64(..),
        )
        .await;
    }
}

/// One line of a basket: SKU by index and pieces.
type Basket = Vec<(usize, i64)>;

async fn buy(clients: &Clients, tally: &Tally, rng: &mut fastrand::Rng, number: &str) -> Result<(), Status> {
    let basket: Basket = (0..rng.usize(1..=4)).map(|_| (wanted(rng), rng.i64(1..=2))).collect();
    let cart: Vec<ful::CartLine> = (1..)
        .zip(&basket)
        .map(|(line, (index, quantity))| ful::CartLine { line, sku: sku(*index).0, quantity: *quantity })
        .collect();
    let (latitude, longitude) = place(rng);
    let ask = ful::GetPromiseRequest {
        lines: cart.clone(),
        methods: vec![i32::from(Method::Pickup)],
        place: Some(Place { point: Some(LatLng { latitude, longitude }) }),
        max_options: 3,
        ..Default::default()
    };
    let promised = clients.promise.clone().get_promise(ask).await?.into_inner();
    let Some(option) = promised.options.into_iter().next() else {
        let reason = promised.refusals.first().and_then(|refusal| refusal.reasons().next());
        let reason = reason.unwrap_or(ful::ReasonCode::NoStock).as_str_name();
        tally.refused(&format!("no option, {}", reason.trim_start_matches("REASON_CODE_")));
        return Ok(());
    };
    let begun = Instant::now();
    let group = ord::NewGroup {
        method: option.method,
        r#where: Some(ord::new_group::Where::NodeId(option.node_id.clone())),
        consent: Some(Consent { other_node_radius_m: AGREED_M, ..Consent::default() }),
        ..ord::NewGroup::default()
    };
    let promise_token = if rng.bool() {
        let hold = ful::HoldPromiseRequest {
            request_id: fresh(rng),
            lines: cart,
            groups: vec![ful::CartGroup {
                group: 1,
                method: option.method,
                node_id: option.node_id,
                ..ful::CartGroup::default()
            }],
            instead_of: Vec::new(),
            on_behalf_of: String::new(),
            channel: String::new(),
            ttl: None,
        };
        let promise = clients.promise.clone().hold_promise(hold).await?.into_inner().promise;
        promise.unwrap_or_default().promise_token
    } else {
        String::new()
    };
    let pay_later = rng.u8(..100) < 8;
    let request = ord::PlaceOrderRequest {
        groups: vec![group],
        promise_token,
        ..order(number, &basket, pay_later, fresh(rng))
    };
    let placed = clients.orders.clone().place_order(request).await?.into_inner().order.unwrap_or_default();
    let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
    if let Some(at) = instant(placed.place_time.as_ref()) {
        tally.placed(placed.order_id.clone(), at, micros);
    }
    if rng.u8(..100) < 4 {
        let cancel = ord::CancelOrderRequest {
            request_id: fresh(rng),
            order_id: placed.order_id,
            lines: Vec::new(),
            reason: "CUSTOMER_CHANGED_MIND".to_owned(),
        };
        clients.orders.clone().cancel_order(cancel).await?;
    }
    Ok(())
}

/// All of an order but where its goods are wanted.
fn order(number: &str, basket: &Basket, pay_later: bool, request_id: String) -> ord::PlaceOrderRequest {
    let amount = |minor| Some(money(minor, CURRENCY));
    let total: i64 = basket.iter().map(|(index, quantity)| price(*index) * quantity).sum();
    let lines = basket.iter().map(|(index, quantity)| ord::NewLine {
        sku: sku(*index).0,
        name: sku(*index).1,
        quantity: *quantity,
        unit_price: amount(price(*index)),
        discount: None,
        tax: None,
        promotions: Vec::new(),
        line: 0,
    });
    let (terms, state) = if pay_later {
        (ord::PaymentTerms::PayAtHandover, ord::TenderState::Due)
    } else {
        (ord::PaymentTerms::Prepaid, ord::TenderState::Captured)
    };
    ord::PlaceOrderRequest {
        request_id,
        channel: "web".to_owned(),
        channel_order_id: number.to_owned(),
        customer_ref: format!("visitor-{}", total % 997),
        lines: lines.collect(),
        charges: Vec::new(),
        tenders: vec![ord::Tender {
            tender_id: "t1".to_owned(),
            kind: "wechat".to_owned(),
            amount: amount(total),
            state: i32::from(state),
            ..ord::Tender::default()
        }],
        payment_terms: i32::from(terms),
        tax_included: true,
        total: amount(total),
        groups: Vec::new(),
        ..ord::PlaceOrderRequest::default()
    }
}

/// A request id that nobody used before. The seed alone would repeat those of an earlier demo on the same data.
pub(crate) fn fresh(rng: &mut fastrand::Rng) -> String {
    let bytes = rng.u128(..) ^ fastrand::u128(..);
    uuid::Builder::from_random_bytes(bytes.to_be_bytes()).into_uuid().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_demos_of_one_seed_share_no_request_id() {
        let mut once = fastrand::Rng::with_seed(7);
        let mut again = fastrand::Rng::with_seed(7);
        assert_ne!(fresh(&mut once), fresh(&mut again));
        assert_eq!(wanted(&mut once), wanted(&mut again));
    }
}
