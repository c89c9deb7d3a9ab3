//! Plays a till file on a platform whose clock only moves when everything stands still.
//!
//! One queue of inputs in time order: sales to place, and what shops and customers do next. The clock goes to the next
//! input or the next thing that is due on the platform, whichever is earlier, and only when no event is on its way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::time::Duration;

use contract::fulfillment::v1 as ful;
use contract::google::r#type::LatLng as WireLatLng;
use contract::orders::v1 as ord;
use contract::r#type::v1::{Method, Place};
use domain::id;
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status};

use super::file::{Invoice, Till};
use super::report::Report;
use super::shops;
use crate::clients::{Clients, instant, minor, money};
use crate::cmd::setup::{self, internal};
use crate::compose::Platform;

/// Channel of all replayed orders.
const CHANNEL: &str = "replay";

/// What shops and customers do, each some minutes after the store saw the order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Place(usize),
    WriteOff(usize),
    Accept(usize),
    Start(usize),
    Pick(usize),
    Ready(usize),
    Collect(usize),
}

/// Plays one file.
pub(crate) struct Player<'a> {
    platform: &'a Platform,
    till: &'a Till,
    customers: Clients,
    shops: HashMap<String, Clients>,
    queue: BinaryHeap<Reverse<(Timestamp, u64, Step)>>,
    queued: u64,
    /// Fulfillment order of each sale, once the store has it.
    work: Vec<Option<ful::FulfillmentOrder>>,
    seen: tokio::sync::mpsc::Receiver<ful::FulfillmentOrder>,
    waiting: HashMap<String, usize>,
    pub(crate) report: Report,
    pace: Option<Pace>,
}

/// Holds virtual time back to a multiple of real time.
struct Pace {
    speed: f64,
    began: std::time::Instant,
    first: Timestamp,
}

impl<'a> Player<'a> {
    /// A player for a platform that already has its shops, goods and stock.
    pub(crate) fn new(
        platform: &'a Platform,
        till: &'a Till,
        seen: tokio::sync::mpsc::Receiver<ful::FulfillmentOrder>,
        speed: Option<f64>,
    ) -> Result<Self, Status> {
        let named = |actor: &str| {
            Clients::new(&platform.address(), actor).map_err(|error| Status::internal(error.to_string()))
        };
        let mut stores = HashMap::new();
        for node in shops::nodes() {
            stores.insert(node.node_id.clone(), named(&format!("store/{}", node.node_id))?);
        }
        let first = till.sales.first().map_or_else(|| platform.clock().business(), |sale| sale.at);
        let pace = speed.map(|speed| Pace { speed, began: std::time::Instant::now(), first });
        let mut player = Self {
            platform,
            till,
            customers: named("channel/replay")?,
            shops: stores,
            queue: BinaryHeap::new(),
            queued: 0,
            work: vec![None; till.sales.len()],
            seen,
            waiting: HashMap::new(),
            report: Report::new(till),
            pace,
        };
        for (index, sale) in till.sales.iter().enumerate() {
            player.push(sale.at, Step::Place(index));
        }
        for (index, (_, at, _)) in till.write_offs.iter().enumerate() {
            player.push(*at, Step::WriteOff(index));
        }
        Ok(player)
    }

    fn push(&mut self, at: Timestamp, step: Step) {
        self.queued += 1;
        self.queue.push(Reverse((at, self.queued, step)));
    }

    /// Takes up the work that an earlier run left open: its steps have the same request ids, so that none is done twice.
    pub(crate) async fn resume(&mut self) -> Result<(), Status> {
        let by_number: HashMap<&str, usize> =
            (0..).zip(&self.till.sales).map(|(index, sale)| (sale.number.as_str(), index)).collect();
        let mut open = Vec::new();
        for (node_id, shop) in &self.shops {
            let mut request =
                ful::ListWorkRequest { node_id: node_id.clone(), ..ful::ListWorkRequest::default() };
            loop {
                let page = shop.work.clone().list_work(request.clone()).await?.into_inner();
                open.extend(page.fulfillment_orders);
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
        }
        for work in open {
            if let Some(index) = by_number.get(work.channel_order_id.as_str()) {
                self.saw(*index, work);
            }
        }
        Ok(())
    }

    /// Plays until nothing is left to do. `progress` gets the number of sales placed so far.
    pub(crate) async fn run(&mut self, progress: impl Fn(u64)) -> Result<(), Status> {
        while let Some(Reverse((at, _, step))) = self.queue.pop() {
            self.advance(at).await?;
            match step {
                Step::Place(index) => {
                    self.place(index).await?;
                    progress(self.report.placed_or_refused());
                }
                Step::WriteOff(index) => self.write_off(index).await?,
                Step::Accept(index) | Step::Start(index) | Step::Pick(index) | Step::Ready(index) => {
                    self.store_step(index, step).await?;
                }
                Step::Collect(index) => self.collect(index).await?,
            }
        }
        self.settle().await
    }

    /// Moves the clock to `to`, stopping at everything that is due before.
    async fn advance(&mut self, to: Timestamp) -> Result<(), Status> {
        self.settle().await?;
        loop {
            let due = self.platform.next_due().await.map_err(internal)?;
            let now = self.platform.clock().business();
            let Some(due) = due.filter(|due| *due <= to) else { break };
            self.platform.clock().advance_to(due.max(now));
            let done = self.platform.run_due(self.platform.clock().business()).await.map_err(internal)?;
            self.settle().await?;
            if done == 0 {
                break;
            }
        }
        self.platform.clock().advance_to(to);
        self.hold_back(to).await;
        Ok(())
    }

    async fn hold_back(&self, to: Timestamp) {
        let Some(pace) = &self.pace else { return };
        let virtual_s = to.duration_since(pace.first).as_secs_f64();
        let wanted = Duration::from_secs_f64((virtual_s / pace.speed).max(0.0));
        if let Some(wait) = wanted.checked_sub(pace.began.elapsed()) {
            self.platform.clock().pause(wait).await;
        }
    }

    /// Waits until no event is on its way and the stores have seen what was placed.
    async fn settle(&mut self) -> Result<(), Status> {
        setup::events_arrive(self.platform, Duration::from_micros(300), Duration::from_mins(1)).await?;
        while !self.waiting.is_empty() {
            let received = tokio::time::timeout(Duration::from_secs(30), self.seen.recv()).await;
            let Ok(Some(work)) = received else {
                return Err(Status::deadline_exceeded("a store did not see its order within 30 s"));
            };
            if let Some(index) = self.waiting.remove(&work.order_id) {
                self.saw(index, work);
            }
        }
        Ok(())
    }

    /// A store saw its order: what happens next, in minutes from now.
    fn saw(&mut self, index: usize, work: ful::FulfillmentOrder) {
        let now = self.platform.clock().business();
        let sale = &self.till.sales[index];
        let luck = id::derived("replay-luck", &sale.number);
        let byte = |at: usize| i64::from(luck.as_bytes()[at]);
        let minutes = |n: i64| now + SignedDuration::from_mins(n);
        self.push(minutes(2 + byte(0) % 8), Step::Accept(index));
        self.push(minutes(12 + byte(1) % 20), Step::Start(index));
        self.push(minutes(40 + byte(2) % 30), Step::Pick(index));
        self.push(minutes(75 + byte(3) % 15), Step::Ready(index));
        // Collected between two hours and two days after the order.
        self.push(minutes(120 + byte(4) * 11), Step::Collect(index));
        self.work[index] = Some(work);
    }

    async fn place(&mut self, index: usize) -> Result<(), Status> {
        let sale = &self.till.sales[index];
        let request = match self.request(sale).await? {
            Ok(request) => request,
            Err(reasons) => {
                self.report.refused(sale, &reasons);
                return Ok(());
            }
        };
        let answer = self.customers.orders.place_order(request).await;
        match answer {
            Ok(answer) => {
                let order = answer.into_inner().order.unwrap_or_default();
                let placed = instant(order.place_time.as_ref());
                let is_new = order.version <= 1 && placed == Some(self.platform.clock().business());
                self.report.placed(sale, minor(order.total.as_ref()), is_new);
                if is_new {
                    self.waiting.insert(order.order_id, index);
                }
                Ok(())
            }
            Err(status) if is_refusal(&status) => {
                self.report.refused(sale, status.message());
                Ok(())
            }
            Err(status) => Err(status),
        }
    }

    /// The order of a sale, at the first node that can promise it; or why none can.
    async fn request(&self, sale: &Invoice) -> Result<Result<ord::PlaceOrderRequest, String>, Status> {
        let known = ord::GetOrderByChannelIdRequest {
            channel: CHANNEL.to_owned(),
            channel_order_id: sale.number.clone(),
        };
        let node_id = match self.customers.orders.clone().get_order_by_channel_id(known).await {
            Ok(order) => {
                let groups = order.into_inner().order.unwrap_or_default().groups;
                groups.into_iter().next().unwrap_or_default().node_id
            }
            Err(status) if status.code() == Code::NotFound => match self.offer(sale).await? {
                Ok(node_id) => node_id,
                Err(reasons) => return Ok(Err(reasons)),
            },
            Err(status) => return Err(status),
        };
        Ok(Ok(order_request(sale, node_id)))
    }

    async fn offer(&self, sale: &Invoice) -> Result<Result<String, String>, Status> {
        let home = shops::home(&sale.customer, &sale.number);
        let lines = (1..).zip(&sale.goods).map(|(line, row)| ful::CartLine {
            line,
            sku: row.code.clone(),
            quantity: row.quantity,
        });
        let request = ful::GetPromiseRequest {
            lines: lines.collect(),
            methods: vec![i32::from(Method::Pickup)],
            place: Some(Place { point: Some(WireLatLng { latitude: home.lat(), longitude: home.lng() }) }),
            max_options: 1,
            ..Default::default()
        };
        let answer = self.customers.promise.clone().get_promise(request).await?.into_inner();
        Ok(match answer.options.into_iter().next() {
            Some(option) => Ok(option.node_id),
            None => Err(answer
                .refusals
                .iter()
                .take(3)
                .flat_map(|refusal| refusal.reasons().map(|reason| reason.as_str_name().to_owned()))
                .collect::<Vec<_>>()
                .join(" ")),
        })
    }

    async fn write_off(&mut self, index: usize) -> Result<(), Status> {
        let (invoice, at, row) = &self.till.write_offs[index];
        let delta = contract::inventory::v1::DeltaRow {
            node_id: shops::writes_off(&row.code).to_owned(),
            sku: row.code.clone(),
            delta: row.quantity,
            kind: i32::from(contract::inventory::v1::MovementKind::WriteOff),
            reference: format!("write-off/{invoice}/{}", row.line),
            source_time: Some(crate::clients::timestamp(*at)),
        };
        setup::book(&self.customers, CHANNEL, &[delta]).await?;
        self.report.wrote_off(row.quantity);
        Ok(())
    }

    async fn store_step(&mut self, index: usize, step: Step) -> Result<(), Status> {
        let Some(work) = self.work[index].clone() else { return Ok(()) };
        let Some(shop) = self.shops.get(&work.node_id) else { return Ok(()) };
        let mut shop = shop.work.clone();
        let fulfillment_id = work.fulfillment_id.clone();
        let request_id = id::derived("replay-step", &format!("{fulfillment_id}/{step:?}")).to_string();
        match step {
            Step::Accept(_) => {
                shop.accept_work(ful::AcceptWorkRequest { request_id, fulfillment_id }).await?;
            }
            Step::Start(_) => {
                shop.start_picking(ful::StartPickingRequest { request_id, fulfillment_id }).await?;
            }
            Step::Pick(_) => {
                let lines = work.lines.iter().map(|line| ful::PickLine {
                    line: line.line,
                    picked: line.quantity,
                    ..ful::PickLine::default()
                });
                let lines = lines.collect();
                shop.pick_lines(ful::PickLinesRequest { request_id, fulfillment_id, lines }).await?;
            }
            Step::Ready(_) => {
                shop.mark_ready(ful::MarkReadyRequest { request_id, fulfillment_id }).await?;
            }
            Step::Place(_) | Step::WriteOff(_) | Step::Collect(_) => {}
        }
        Ok(())
    }

    async fn collect(&mut self, index: usize) -> Result<(), Status> {
        let Some(work) = self.work[index].clone() else { return Ok(()) };
        let Some(shop) = self.shops.get(&work.node_id) else { return Ok(()) };
        let request_id = |what: &str| id::derived(what, &work.fulfillment_id).to_string();
        let issue = ful::IssuePickupCodeRequest {
            request_id: request_id("replay-code"),
            fulfillment_id: work.fulfillment_id.clone(),
        };
        let code = self.customers.work.clone().issue_pickup_code(issue).await?.into_inner().code;
        let hand_over = ful::HandOverRequest {
            request_id: request_id("replay-hand-over"),
            fulfillment_id: work.fulfillment_id.clone(),
            code,
            collector: i32::from(ful::CollectorKind::Buyer),
            ..ful::HandOverRequest::default()
        };
        shop.work.clone().hand_over(hand_over).await?;
        self.report.collected += 1;
        Ok(())
    }
}

/// The order of a sale: goods as lines, charges beside them, paid by card; the same words in each run.
fn order_request(sale: &Invoice, node_id: String) -> ord::PlaceOrderRequest {
    let gbp = |pence| Some(money(pence, "GBP"));
    let goods: i64 = sale.goods.iter().map(super::file::Row::worth).sum();
    let total = goods + sale.charges.iter().map(|charge| charge.1).sum::<i64>();
    let lines = sale.goods.iter().map(|row| ord::NewLine {
        sku: row.code.clone(),
        name: row.name.clone(),
        quantity: row.quantity,
        unit_price: gbp(row.price),
        discount: None,
        tax: None,
        promotions: Vec::new(),
        line: 0,
    });
    let charges = sale.charges.iter().map(|(code, pence)| ord::Charge {
        code: code.clone(),
        description: String::new(),
        amount: gbp(*pence),
        return_rule: i32::from(ord::ReturnRule::WithLastPiece),
    });
    let tender = (total > 0).then(|| ord::Tender {
        tender_id: "card".to_owned(),
        kind: "card".to_owned(),
        amount: gbp(total),
        state: i32::from(ord::TenderState::Captured),
        provider_ref: format!("till-{}", sale.number),
        ..ord::Tender::default()
    });
    ord::PlaceOrderRequest {
        request_id: id::derived("replay-invoice", &sale.number).to_string(),
        channel: CHANNEL.to_owned(),
        channel_order_id: sale.number.clone(),
        customer_ref: if sale.customer.is_empty() {
            String::new()
        } else {
            format!("cust-{}", sale.customer)
        },
        lines: lines.collect(),
        charges: charges.collect(),
        tenders: tender.into_iter().collect(),
        payment_terms: i32::from(ord::PaymentTerms::Prepaid),
        tax_included: true,
        total: gbp(total),
        groups: vec![ord::NewGroup {
            method: i32::from(Method::Pickup),
            r#where: Some(ord::new_group::Where::NodeId(node_id)),
            ..ord::NewGroup::default()
        }],
        ..ord::PlaceOrderRequest::default()
    }
}

/// A "no" of the platform, as against a fault.
fn is_refusal(status: &Status) -> bool {
    matches!(status.code(), Code::FailedPrecondition | Code::InvalidArgument)
}
