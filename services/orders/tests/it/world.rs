//! One service on one database, with its client and its stand-in for fulfillment.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as ful;
use contract::google::r#type::Money;
use contract::inventory::v1 as inv;
use contract::orders::v1 as pb;
use contract::orders::v1::order_events_service_client::OrderEventsServiceClient;
use contract::orders::v1::order_service_client::OrderServiceClient;
use contract::r#type::v1::{LineQuantity, Method};
use domain::id::{FulfillmentId, OrderId, Uuid};
use domain::time::after_ms;
use orders::{Config, Orders};
use prost::Message as _;
use server::Peer;
use test_world::{Ground, Process, by, fresh};
use tonic::Status;

use crate::fake::Fake;

/// One service, ready to be called.
pub(crate) struct World {
    process: Process<Orders>,
    pub(crate) client: OrderServiceClient<Peer>,
    pub(crate) fake: Fake,
    next: AtomicU32,
}

impl Deref for World {
    type Target = Process<Orders>;

    fn deref(&self) -> &Process<Orders> {
        &self.process
    }
}

pub(crate) const SETS: db::testing::Sets<'static> =
    &[(bus::MIGRATION_SET, bus::MIGRATIONS), ("orders", orders::MIGRATIONS)];

/// Ten years in seconds: later than any test.
const NEVER: u32 = 315_360_000;

/// A world on each engine, whose orders ask for nothing that they did not hear of.
pub(crate) async fn worlds() -> Vec<World> {
    let config = Config { work_check_s: NEVER, progress_check_s: NEVER, ..Config::default() };
    worlds_with(Config { watch_poll_ms: 60_000, ..config }).await
}

pub(crate) async fn worlds_with(config: Config) -> Vec<World> {
    let grounds = Ground::all(SETS, "2011-12-01T09:00:00Z").await;
    let mut worlds = Vec::new();
    for ground in grounds {
        worlds.push(World::new(ground, config.clone()).await);
    }
    worlds
}

pub(crate) fn gbp(minor: i64) -> Option<Money> {
    money("GBP", minor / 100, i32::try_from(minor % 100 * 10_000_000).unwrap())
}

pub(crate) fn money(currency: &str, units: i64, nanos: i32) -> Option<Money> {
    Some(Money { currency_code: currency.to_owned(), units, nanos })
}

/// The amount in minor units of a currency with two decimals.
pub(crate) fn minor(money: &Option<Money>) -> i64 {
    let money = money.as_ref().unwrap();
    money.units * 100 + i64::from(money.nanos / 10_000_000)
}

/// A new line.
pub(crate) fn line(sku: &str, quantity: i64, price: i64) -> pb::NewLine {
    pb::NewLine {
        sku: sku.to_owned(),
        name: format!("the {sku}"),
        quantity,
        unit_price: gbp(price),
        discount: None,
        tax: None,
        promotions: Vec::new(),
        line: 0,
    }
}

pub(crate) fn tender(id: &str, amount: i64, state: pb::TenderState) -> pb::Tender {
    pb::Tender {
        tender_id: id.to_owned(),
        kind: "card".to_owned(),
        amount: gbp(amount),
        state: state.into(),
        ..pb::Tender::default()
    }
}

/// A request for these lines and 3.50 of postage, all of it on one card.
pub(crate) fn request(
    number: &str,
    lines: Vec<pb::NewLine>,
    state: pb::TenderState,
) -> pb::PlaceOrderRequest {
    let goods: i64 = lines.iter().map(|l| l.quantity * minor(&l.unit_price)).sum();
    let total = goods + 350;
    pb::PlaceOrderRequest {
        request_id: fresh(),
        channel: "web".to_owned(),
        channel_order_id: number.to_owned(),
        customer_ref: "c-1".to_owned(),
        lines,
        charges: vec![pb::Charge {
            code: "POSTAGE".to_owned(),
            description: "to the door".to_owned(),
            amount: gbp(350),
            return_rule: pb::ReturnRule::Unspecified.into(),
        }],
        tenders: vec![tender("t1", total, state)],
        payment_terms: pb::PaymentTerms::Prepaid.into(),
        tax_included: true,
        total: gbp(total),
        groups: vec![group(Method::Pickup.into(), "store-1")],
        ..pb::PlaceOrderRequest::default()
    }
}

/// A request for four pieces of 10.00 and no postage, all of it on one card.
pub(crate) fn forty(number: &str, terms: pb::PaymentTerms, state: pb::TenderState) -> pb::PlaceOrderRequest {
    let request = request(number, vec![line("a", 4, 1_000)], state);
    pb::PlaceOrderRequest {
        charges: Vec::new(),
        tenders: vec![tender("t1", 4_000, state)],
        payment_terms: terms.into(),
        total: gbp(4_000),
        ..request
    }
}

/// A request to take an option.
pub(crate) fn chosen(order: &pb::Order, option: &pb::NeedOption) -> pb::ChooseOptionRequest {
    pb::ChooseOptionRequest {
        request_id: fresh(),
        order_id: order.order_id.clone(),
        option_id: option.option_id.clone(),
    }
}

/// A group of all lines at a node.
pub(crate) fn group(method: i32, node: &str) -> pb::NewGroup {
    pb::NewGroup {
        method,
        r#where: Some(pb::new_group::Where::NodeId(node.to_owned())),
        ..pb::NewGroup::default()
    }
}

/// The leg that serves an order: the last one.
pub(crate) fn leg(order: &pb::Order) -> &pb::Leg {
    order.groups.iter().rev().find_map(|group| group.legs.last()).unwrap()
}

fn leg_id(order: &pb::Order) -> FulfillmentId {
    leg(order).fulfillment_id.parse().unwrap()
}

impl World {
    async fn new(ground: Ground, config: Config) -> Self {
        let fake = Fake::new(ground.clock.clone());
        let orders = Orders::new(ground.db.db(), ground.clock.clone(), config, fake.peer()).await.unwrap();
        let client = OrderServiceClient::new(orders.peer());
        Self { process: Process::new(ground, orders), client, fake, next: AtomicU32::new(1) }
    }

    /// The same database seen by another process.
    pub(crate) async fn another_process(&self) -> Arc<Orders> {
        let orders =
            Orders::new(self.db.reopen().await, self.clock.clone(), Config::default(), self.fake.peer());
        orders.await.unwrap()
    }

    /// Holds end ten minutes after their orders are placed, and the orders are looked at then.
    pub(crate) async fn end_hold_early(&self) {
        self.alter("UPDATE orders SET due_at = placed_at").await;
        self.alter("UPDATE order_legs SET held_until = placed_at + 600000000").await;
    }

    /// The node refuses all that the last leg has.
    pub(crate) async fn reject(&self, order: &pb::Order, reason: ful::RejectReason) -> pb::Order {
        if reason == ful::RejectReason::NotFound {
            self.fake.count_at(&leg(order).node_id);
        }
        let rejected = ful::FulfillmentRejected { reason: reason.into(), ..Default::default() };
        let body = ful::fulfillment_event::Body::Rejected(rejected);
        let gone = |line: &mut ful::FulfillmentLine| (line.to_pick, line.given_up) = (0, line.quantity);
        self.work(order, ful::FulfillmentState::Rejected, body, gone).await
    }

    /// What may be done about pieces that nodes could not do.
    pub(crate) async fn options(&self, order: &pb::Order) -> Vec<pb::NeedOption> {
        let request = pb::ListOptionsRequest { order_id: order.order_id.clone() };
        self.client.clone().list_options(request).await.unwrap().into_inner().options
    }

    /// What is due happens, and the customer, who is asked, drops the pieces of the last need.
    pub(crate) async fn drop_pieces(&self, order: &pb::Order) -> pb::Order {
        self.run_due().await;
        let options = self.options(order).await;
        self.try_choose(order, options.last().unwrap()).await.unwrap()
    }

    /// Takes an option.
    pub(crate) async fn try_choose(
        &self,
        order: &pb::Order,
        option: &pb::NeedOption,
    ) -> Result<pb::Order, Status> {
        let request = chosen(order, option);
        Ok(self.client.clone().choose_option(request).await?.into_inner().order.unwrap())
    }

    /// Time passes, and what is due happens.
    pub(crate) async fn pass(&self, minutes: i64) {
        self.clock.advance_to(after_ms(self.now(), minutes * 60_000));
        self.run_due().await;
    }

    /// Whether no order is due within a year.
    pub(crate) async fn is_quiet(&self) -> bool {
        let year = after_ms(self.now(), 365 * 86_400_000);
        self.next_due().await.is_none_or(|due| due > year)
    }

    /// A number that no order of the channel has.
    pub(crate) fn number(&self) -> String {
        format!("n-{}", self.next.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) async fn try_place(&self, request: pb::PlaceOrderRequest) -> Result<pb::Order, Status> {
        let channel = server::Principal::parse(&format!("channel/{}", request.channel));
        let actor = channel.map_or("ops/it".to_owned(), |channel| channel.to_string());
        let request = by(&actor, request);
        Ok(self.client.clone().place_order(request).await?.into_inner().order.unwrap())
    }

    /// Two lines, 3 x 1.00 and 2 x 0.55, and postage: 7.60 in all.
    pub(crate) async fn placed(&self, state: pb::TenderState) -> pb::Order {
        let lines = vec![line("a", 3, 100), line("b", 2, 55)];
        self.try_place(request(&self.number(), lines, state)).await.unwrap()
    }

    pub(crate) async fn unpaid(&self) -> pb::Order {
        self.placed(pb::TenderState::Due).await
    }

    pub(crate) async fn paid(&self) -> pb::Order {
        self.placed(pb::TenderState::Captured).await
    }

    pub(crate) async fn try_pay(
        &self,
        order: &pb::Order,
        state: pb::TenderState,
    ) -> Result<pb::Order, Status> {
        let tender = &order.tenders[0];
        self.try_report(order, &tender.tender_id, state, minor(&tender.amount), "psp-1").await
    }

    /// A provider reports an amount of a tender.
    pub(crate) async fn try_report(
        &self,
        order: &pb::Order,
        tender: &str,
        state: pb::TenderState,
        amount: i64,
        reference: &str,
    ) -> Result<pb::Order, Status> {
        let request = pb::PayOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender_id: tender.to_owned(),
            state: state.into(),
            amount: gbp(amount),
            provider_ref: reference.to_owned(),
        };
        Ok(self.client.clone().pay_order(request).await?.into_inner().order.unwrap())
    }

    /// Another tender for an order.
    pub(crate) async fn try_add(&self, order: &pb::Order, tender: pb::Tender) -> Result<pb::Order, Status> {
        let request = pb::AddTenderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            tender: Some(tender),
        };
        Ok(self.client.clone().add_tender(request).await?.into_inner().order.unwrap())
    }

    /// Money back for pieces: line, piece, amount.
    pub(crate) async fn try_claim(
        &self,
        order: &pb::Order,
        claims: &[(u32, i64, i64)],
    ) -> Result<pb::Order, Status> {
        let claim = |(line, piece, amount): &(u32, i64, i64)| pb::PriceClaim {
            line: *line,
            piece: *piece,
            amount: gbp(*amount),
        };
        let request = pb::ClaimRefundRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            claims: claims.iter().map(claim).collect(),
            reason: "PRICE_PROTECTION".to_owned(),
        };
        Ok(self.client.clone().claim_refund(request).await?.into_inner().order.unwrap())
    }

    /// The provider's answer to the last attempt at a refund of an order, by a tender that has one part of it.
    pub(crate) async fn try_refund(
        &self,
        order: &pb::Order,
        (refund, tender): (usize, &str),
        state: pb::RefundState,
        reference: &str,
    ) -> Result<pb::Order, Status> {
        let parts = self.get(order).await.refunds.into_iter().nth(refund).map(|refund| refund.parts);
        let known = parts.into_iter().flatten().find(|part| part.tender_id == tender);
        let request = pb::ReportRefundRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            refund_id: order.refunds[refund].refund_id.clone(),
            tender_id: tender.to_owned(),
            state: state.into(),
            report_ref: reference.to_owned(),
            attempt: known.map_or(1, |part| part.attempt),
            provider_ref: None,
        };
        Ok(self.client.clone().report_refund(request).await?.into_inner().order.unwrap())
    }

    pub(crate) async fn try_cancel(
        &self,
        order: &pb::Order,
        lines: &[(u32, i64)],
    ) -> Result<(pb::Order, pb::CancelOutcome), Status> {
        let lines = lines.iter().map(|(line, quantity)| LineQuantity { line: *line, quantity: *quantity });
        let request = pb::CancelOrderRequest {
            request_id: fresh(),
            order_id: order.order_id.clone(),
            lines: lines.collect(),
            reason: "CHANGED_MIND".to_owned(),
        };
        let reply = self.client.clone().cancel_order(request).await?.into_inner();
        let outcome = reply.outcome();
        Ok((reply.order.unwrap(), outcome))
    }

    pub(crate) async fn get(&self, order: &pb::Order) -> pb::Order {
        let request = pb::GetOrderRequest { order_id: order.order_id.clone() };
        self.client.clone().get_order(request).await.unwrap().into_inner().order.unwrap()
    }

    /// The steps of the timeline, in order.
    pub(crate) async fn steps(&self, order: &pb::Order) -> Vec<String> {
        self.timeline(order).await.into_iter().map(|entry| entry.step).collect()
    }

    /// The timeline, checked to be dense.
    pub(crate) async fn timeline(&self, order: &pb::Order) -> Vec<pb::TimelineEntry> {
        let request = pb::ListOrderTimelineRequest { order_id: order.order_id.clone(), ..Default::default() };
        let entries = self.client.clone().list_order_timeline(request).await.unwrap().into_inner().entries;
        let numbers: Vec<i64> = entries.iter().map(|e| e.number).collect();
        assert_eq!(numbers, (1..=i64::try_from(entries.len()).unwrap()).collect::<Vec<_>>());
        entries
    }

    /// The order's events, checked to be dense, by the RPC that consumers use.
    pub(crate) async fn events(&self, order: &pb::Order) -> Vec<pb::OrderEvent> {
        let request =
            pb::ReplayEventsRequest { aggregate_id: id(order).to_string(), from_sequence: 1, page_size: 0 };
        let mut client = OrderEventsServiceClient::new(self.peer());
        let events = client.replay_events(request).await.unwrap().into_inner().events;
        for (event, sequence) in events.iter().zip(1..) {
            assert_eq!(event.sequence, sequence);
            assert_eq!(event.aggregate_type, "order");
        }
        let decode =
            |e: &contract::r#type::v1::StoredEvent| pb::OrderEvent::decode(e.payload.clone()).unwrap();
        events.iter().map(decode).collect()
    }

    /// What happened, by the short names of the events.
    pub(crate) async fn happened(&self, order: &pb::Order) -> Vec<&'static str> {
        use pb::order_event::Body;
        let name = |event: &pb::OrderEvent| match event.body.as_ref().unwrap() {
            Body::Placed(_) => "placed",
            Body::Unblocked(_) => "unblocked",
            Body::Confirmed(_) => "confirmed",
            Body::Paid(_) => "paid",
            Body::PaymentLapsed(_) => "lapsed",
            Body::Expired(_) => "expired",
            Body::CancelRequested(_) => "cancel_requested",
            Body::Cancelled(_) => "cancelled",
            Body::Progressed(_) => "progressed",
            Body::Completed(_) => "completed",
            Body::RefundRequested(_) => "refund",
            Body::NeedOpened(_) => "need_opened",
            Body::Rerouted(_) => "rerouted",
            Body::OptionsOffered(_) => "options_offered",
            Body::NeedClosed(_) => "need_closed",
            Body::VoidRequested(_) => "void_requested",
            Body::PaymentLost(_) => "payment_lost",
            Body::ExcessPaid(_) => "excess",
            Body::TenderAdded(_) => "tender_added",
            Body::RefundReported(_) => "refund_reported",
            Body::PromiseMoved(_) => "moved",
            Body::DueChanged(_) => "due_changed",
            Body::MoneyChanged(_) => "money_changed",
        };
        self.events(order).await.iter().map(name).collect()
    }

    pub(crate) fn stock_event(&self, order: &pb::Order, body: inv::inventory_event::Body) -> Delivered {
        let payload = inv::InventoryEvent { body: Some(body) }.encode_to_vec();
        self.delivered(Topic::Inventory, "reservation", leg_id(order).uuid(), payload)
    }

    pub(crate) fn delivered(&self, topic: Topic, kind: &str, aggregate: Uuid, payload: Vec<u8>) -> Delivered {
        Delivered {
            aggregate,
            event_type: "test".to_owned(),
            actor: "store/store-1".to_owned(),
            ..test_world::delivered(topic, kind, payload, self.now())
        }
    }

    /// Inventory confirms the stock of the order.
    pub(crate) async fn confirm(&self, order: &pb::Order) {
        let confirmed = inv::ReservationConfirmed { reservation: None, order_id: order.order_id.clone() };
        let event = self.stock_event(order, inv::inventory_event::Body::ReservationConfirmed(confirmed));
        self.hear(&event).await.unwrap();
    }

    /// Fulfillment reports: lines as the closure leaves them, and what happened.
    pub(crate) fn work_event(
        &self,
        order: &pb::Order,
        state: ful::FulfillmentState,
        body: ful::fulfillment_event::Body,
        change: impl Fn(&mut ful::FulfillmentLine),
    ) -> Delivered {
        let leg = leg(order);
        let lines = leg.lines.iter().map(|part| {
            let mut line = ful::FulfillmentLine {
                line: part.line,
                quantity: part.quantity,
                to_pick: part.quantity,
                ..Default::default()
            };
            change(&mut line);
            line
        });
        let fo = ful::FulfillmentOrder {
            fulfillment_id: leg.fulfillment_id.clone(),
            order_id: order.order_id.clone(),
            promise_token: leg.promise_token.clone(),
            node_id: leg.node_id.clone(),
            state: state.into(),
            version: 1,
            lines: lines.collect(),
            ..Default::default()
        };
        let payload = ful::FulfillmentEvent { fulfillment_order: Some(fo), body: Some(body) }.encode_to_vec();
        self.delivered(Topic::Fulfillment, "fulfillment_order", leg_id(order).uuid(), payload)
    }

    pub(crate) async fn work(
        &self,
        order: &pb::Order,
        state: ful::FulfillmentState,
        body: ful::fulfillment_event::Body,
        change: impl Fn(&mut ful::FulfillmentLine),
    ) -> pb::Order {
        self.hear(&self.work_event(order, state, body, change)).await.unwrap();
        self.get(order).await
    }
}

pub(crate) fn id(order: &pb::Order) -> Uuid {
    order.order_id.parse::<OrderId>().unwrap().uuid()
}

/// The refund requested last, in minor units, and in all.
pub(crate) fn refunds(order: &pb::Order) -> (i64, i64) {
    let last = order.refunds.last().map_or(0, |refund| minor(&refund.amount));
    (last, minor(&order.refund_requested))
}
