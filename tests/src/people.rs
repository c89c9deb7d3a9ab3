//! What customers, channels and stores do in the flows, step by step.

use std::time::{Duration, Instant};

use contract::fulfillment::v1 as ful;
use contract::orders::v1 as ord;
use contract::r#type::v1::{LineQuantity, Method};
use entrepot::clients::money;
use test_world::{PATIENCE, eventually, fresh};
use tonic::{Code, Status};

use crate::world::People;

/// An order of `lines` (SKU, pieces, price of a piece in cents) for pickup at `node_id`, paid by card.
pub fn order_at(node_id: &str, lines: &[(&str, i64, i64)]) -> ord::PlaceOrderRequest {
    let cents = |minor| Some(money(minor, "USD"));
    let total: i64 = lines.iter().map(|(_, quantity, price)| quantity * price).sum();
    let new_line = |(sku, quantity, price): &(&str, i64, i64)| ord::NewLine {
        sku: (*sku).to_owned(),
        name: format!("Goods {sku}"),
        quantity: *quantity,
        unit_price: cents(*price),
        discount: None,
        tax: None,
        promotions: Vec::new(),
        line: 0,
    };
    ord::PlaceOrderRequest {
        request_id: fresh(),
        channel: "web".to_owned(),
        channel_order_id: fresh(),
        customer_ref: "customer-1".to_owned(),
        lines: lines.iter().map(new_line).collect(),
        charges: Vec::new(),
        tenders: vec![ord::Tender {
            tender_id: "card".to_owned(),
            kind: "card".to_owned(),
            amount: cents(total),
            state: i32::from(ord::TenderState::Captured),
            provider_ref: "paid".to_owned(),
            ..ord::Tender::default()
        }],
        payment_terms: i32::from(ord::PaymentTerms::Prepaid),
        tax_included: true,
        total: cents(total),
        groups: vec![group_at(node_id)],
        ..ord::PlaceOrderRequest::default()
    }
}

/// A group for pickup at a node: of all lines, unless it is given some.
pub fn group_at(node_id: &str) -> ord::NewGroup {
    ord::NewGroup {
        method: i32::from(Method::Pickup),
        r#where: Some(ord::new_group::Where::NodeId(node_id.to_owned())),
        ..ord::NewGroup::default()
    }
}

/// A group for pickup at a node, of these pieces (line, pieces) of an order.
pub fn part_at(node_id: &str, quantities: &[(u32, i64)]) -> ord::NewGroup {
    let piece = |(line, quantity): &(u32, i64)| LineQuantity { line: *line, quantity: *quantity };
    ord::NewGroup { lines: quantities.iter().map(piece).collect(), ..group_at(node_id) }
}

/// A request to hold pieces of a SKU for pickup at a node.
pub fn hold_at(node_id: &str, sku: &str, quantity: i64) -> ful::HoldPromiseRequest {
    ful::HoldPromiseRequest {
        request_id: fresh(),
        lines: vec![ful::CartLine { line: 1, sku: sku.to_owned(), quantity }],
        groups: vec![ful::CartGroup {
            group: 1,
            method: i32::from(Method::Pickup),
            node_id: node_id.to_owned(),
            ..ful::CartGroup::default()
        }],
        ..ful::HoldPromiseRequest::default()
    }
}

/// The legs of an order that serve, by group.
pub fn legs(order: &ord::Order) -> Vec<&ord::Leg> {
    order.groups.iter().flat_map(|group| &group.legs).filter(|leg| !leg.is_dropped).collect()
}

/// The customer is asked what is to be done about pieces that no node has.
pub fn is_asked(order: &ord::Order) -> bool {
    order.blocks().any(|block| block == ord::Block::Stock)
}

/// The same, to be paid later.
pub fn unpaid(mut order: ord::PlaceOrderRequest) -> ord::PlaceOrderRequest {
    for tender in &mut order.tenders {
        tender.state = i32::from(ord::TenderState::Due);
    }
    order
}

impl People {
    /// Places an order.
    pub async fn try_place(&self, request: ord::PlaceOrderRequest) -> Result<ord::Order, Status> {
        let answer = self.clients.orders.clone().place_order(request).await?;
        Ok(answer.into_inner().order.unwrap_or_default())
    }

    /// The same on a busy machine: where the answer is that time is up, or that there is no room now, the same is asked
    /// again.
    pub async fn insist(&self, request: ord::PlaceOrderRequest) -> Result<ord::Order, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.try_place(request.clone()).await {
                Err(status) if is_for_later(status.code()) && Instant::now() < deadline => {}
                answer => return answer,
            }
            clock::Clock::system().pause(Duration::from_millis(250)).await;
        }
    }

    /// Places an order that must succeed.
    pub async fn place(&self, request: ord::PlaceOrderRequest) -> ord::Order {
        self.try_place(request).await.expect("the order is placed")
    }

    /// The order as it is now.
    pub async fn order(&self, order_id: &str) -> ord::Order {
        let request = ord::GetOrderRequest { order_id: order_id.to_owned() };
        let answer = self.clients.orders.clone().get_order(request).await.expect("the order is there");
        answer.into_inner().order.unwrap_or_default()
    }

    /// The order once `ready` says so.
    pub async fn order_when(&self, order_id: &str, ready: impl Fn(&ord::Order) -> bool) -> ord::Order {
        eventually(async || {
            let order = self.order(order_id).await;
            if ready(&order) { Ok(order) } else { Err(format!("the order did not get there: {order:#?}")) }
        })
        .await
    }

    /// Pays an order that was placed unpaid.
    pub async fn pay(&self, order: &ord::Order) -> ord::Order {
        let request = payment(order);
        let answer = self.clients.orders.clone().pay_order(request).await.expect("the payment is taken");
        answer.into_inner().order.unwrap_or_default()
    }

    /// The newest fulfillment order of an order, once the store has it.
    pub async fn work_of(&self, order_id: &str) -> ful::FulfillmentOrder {
        eventually(async || {
            let found = self.of_order(order_id).await.expect("the work of an order is listed");
            found.into_iter().next().ok_or("no store has the order")
        })
        .await
    }

    /// A new pickup code of the newest work of an order.
    pub async fn code(&self, order_id: &str) -> String {
        let work = self.work_of(order_id).await;
        self.issue_code(&work.fulfillment_id).await.expect("a code is issued")
    }

    /// Cancels pieces (line, pieces), none = all that can be.
    pub async fn cancel(
        &self,
        order_id: &str,
        lines: &[(u32, i64)],
    ) -> Result<ord::CancelOrderResponse, Status> {
        let lines = lines.iter().map(|(line, quantity)| LineQuantity { line: *line, quantity: *quantity });
        let request = ord::CancelOrderRequest {
            request_id: fresh(),
            order_id: order_id.to_owned(),
            lines: lines.collect(),
            reason: "CUSTOMER_CHANGED_MIND".to_owned(),
        };
        Ok(self.clients.orders.clone().cancel_order(request).await?.into_inner())
    }

    /// The order once every leg that serves is at its node.
    pub async fn offered(&self, order_id: &str) -> ord::Order {
        let is_offered = |order: &ord::Order| legs(order).iter().all(|leg| leg.work_version > 0);
        self.order_when(order_id, is_offered).await
    }

    /// What may be done about pieces that nodes could not do.
    pub async fn options(&self, order_id: &str) -> Result<Vec<ord::NeedOption>, Status> {
        let request = ord::ListOptionsRequest { order_id: order_id.to_owned() };
        Ok(self.clients.orders.clone().list_options(request).await?.into_inner().options)
    }

    /// Takes one of them.
    pub async fn choose(&self, order_id: &str, option: &ord::NeedOption) -> Result<ord::Order, Status> {
        let (order_id, option_id) = (order_id.to_owned(), option.option_id.clone());
        let request = ord::ChooseOptionRequest { request_id: fresh(), order_id, option_id };
        let answer = self.clients.orders.clone().choose_option(request).await?;
        Ok(answer.into_inner().order.unwrap_or_default())
    }

    /// Drops what nodes could not do, where the customer is asked; none: nothing is asked.
    pub async fn drop_missing(&self, order_id: &str) -> Option<ord::Order> {
        let options = self.options(order_id).await.ok()?;
        let drop = options.iter().find(|option| option.kind() == ord::OptionKind::Drop)?;
        self.choose(order_id, drop).await.ok()
    }

    /// Accepts, picks everything and makes it ready.
    pub async fn prepare(&self, work: &ful::FulfillmentOrder) -> ful::FulfillmentOrder {
        let id = &work.fulfillment_id;
        self.accept(id).await.expect("accepted");
        self.start(id).await.expect("started");
        let lines: Vec<(u32, i64, i64)> =
            work.lines.iter().map(|line| (line.line, line.to_pick, 0)).collect();
        self.pick(id, &lines).await.expect("picked");
        self.ready(id).await.expect("made ready")
    }
}

/// The call had no effect or its outcome is unknown: the same request may be sent again.
fn is_for_later(code: Code) -> bool {
    matches!(code, Code::DeadlineExceeded | Code::Unavailable | Code::ResourceExhausted)
}

/// A breath between two looks.
pub async fn pause() {
    clock::Clock::system().pause(std::time::Duration::from_millis(3)).await;
}

/// The whole of an order that was placed unpaid, by card.
pub fn payment(order: &ord::Order) -> ord::PayOrderRequest {
    ord::PayOrderRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        tender_id: "card".to_owned(),
        state: i32::from(ord::TenderState::Captured),
        amount: order.total.clone(),
        provider_ref: "late".to_owned(),
    }
}
