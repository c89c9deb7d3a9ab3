//! Requests as commands: shape only. What may happen is decided by `domain`.

use contract::orders::v1 as pb;
use contract::orders::v1::place_order_request::Fulfillment;
use contract::r#type::v1::Method as PbMethod;
use domain::fulfillment::method::Method;
use domain::id::{LineNo, NodeId, OrderId, PromiseToken, Sku, Uuid};
use domain::money::Currency;
use domain::order::{Amounts, Charge, Draft, DraftLine, Payment, Status, Tender, TenderState, Terms};
use domain::quantity::Quantity;
use sha2::{Digest as _, Sha256};

use super::METHOD_PREFIX;
use super::fields::Fields;
use crate::config::Config;
use crate::error::Error;
use crate::store::Filter;

/// How the stock of a new order is held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// By a token that the caller has.
    Token(PromiseToken),
    /// By one that we ask for.
    Node { method: Method, node: NodeId },
}

/// An order to place.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) request_id: Uuid,
    pub(crate) body_hash: [u8; 32],
    pub(crate) draft: Draft,
    pub(crate) source: Source,
}

const MAX_CHARGES: usize = 20;
const MAX_TENDERS: usize = 10;
const MAX_STATUSES: usize = 32;

/// The hash of a request without its id: what makes it the same request.
fn body_hash(message: &impl prost::Message) -> [u8; 32] {
    Sha256::digest(message.encode_to_vec()).into()
}

pub(crate) fn place_order(mut request: pb::PlaceOrderRequest, config: &Config) -> Result<Place, Error> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(&std::mem::take(&mut request.request_id));
    let body_hash = body_hash(&request);
    let source = source(&mut fields, request.fulfillment.take());
    let draft = draft(&mut fields, &request, config);
    match &draft {
        Some(draft) if fields.are_good() => {
            for flaw in draft.flaws() {
                fields.bad(flaw.field, flaw.description);
            }
        }
        Some(_) | None => fields.name_amounts(),
    }
    let place = request_id.zip(source).zip(draft);
    fields.finish(place.map(|((request_id, source), draft)| Place { request_id, body_hash, draft, source }))
}

fn draft(fields: &mut Fields, request: &pb::PlaceOrderRequest, config: &Config) -> Option<Draft> {
    let channel = fields.channel("channel", &request.channel);
    let channel_order_id = fields.text("channel_order_id", &request.channel_order_id, 64);
    if !request.customer_ref.is_empty() {
        fields.text("customer_ref", &request.customer_ref, 64);
    }
    let terms = terms(fields, request.payment_terms());
    let currency = fields.currency("total", request.total.as_ref());
    let total = currency.and_then(|c| fields.minor("total", request.total.as_ref(), Some(c)));
    let lines = lines(fields, request, currency, config.max_lines);
    let charges = charges(fields, &request.charges, currency);
    let tenders = tenders(fields, &request.tenders, currency);
    Some(Draft {
        channel,
        channel_order_id,
        customer_ref: request.customer_ref.clone(),
        currency: currency?,
        tax_included: request.tax_included,
        terms: terms?,
        lines: lines?,
        charges: charges?,
        tenders: tenders?,
        total_minor: total?,
    })
}

fn terms(fields: &mut Fields, terms: pb::PaymentTerms) -> Option<Terms> {
    match terms {
        pb::PaymentTerms::Prepaid => Some(Terms::Prepaid),
        pb::PaymentTerms::PayAtHandover => Some(Terms::PayAtHandover),
        pb::PaymentTerms::OnAccount => Some(Terms::OnAccount),
        pb::PaymentTerms::Unspecified => {
            fields.bad("payment_terms", "is required");
            None
        }
    }
}

fn lines(
    fields: &mut Fields,
    request: &pb::PlaceOrderRequest,
    currency: Option<Currency>,
    most: usize,
) -> Option<Vec<DraftLine>> {
    if request.lines.is_empty() || request.lines.len() > most {
        fields.bad("lines", format!("must be 1 to {most}, not {}", request.lines.len()));
        return None;
    }
    let read: Vec<_> =
        request.lines.iter().enumerate().map(|(i, l)| line(fields, i, l, request, currency)).collect();
    read.into_iter().collect()
}

fn line(
    fields: &mut Fields,
    i: usize,
    line: &pb::NewLine,
    request: &pb::PlaceOrderRequest,
    currency: Option<Currency>,
) -> Option<DraftLine> {
    let sku = fields.take(&format!("lines[{i}].sku"), Sku::new(line.sku.as_str()));
    let name = fields.label(&format!("lines[{i}].name"), &line.name, 200);
    let quantity = fields.take(&format!("lines[{i}].quantity"), Quantity::new(line.quantity));
    let price = fields.minor(&format!("lines[{i}].unit_price"), line.unit_price.as_ref(), currency);
    let discount = fields.minor_or_zero(&format!("lines[{i}].discount"), line.discount.as_ref(), currency);
    let tax = fields.minor_or_zero(&format!("lines[{i}].tax"), line.tax.as_ref(), currency);
    // Amounts are looked at together even when another field is bad, so that all are named at once. Without a quantity
    // nobody can tell what the line costs: then only what is bad by itself is.
    let (discount, tax) = (discount?, tax?);
    let (pieces, most) = quantity.map_or((1, 0), |quantity| (quantity.get(), i64::MAX));
    let amounts =
        Amounts { unit_price: price?, quantity: pieces, discount, tax, tax_included: request.tax_included };
    if let Err(flaws) = (Amounts { discount: discount.min(most), tax: tax.min(most), ..amounts }).total() {
        for flaw in flaws {
            fields.bad_amount(format!("lines[{i}].{}", flaw.field()), flaw.to_string());
        }
    }
    quantity?;
    Some(DraftLine { sku: sku?, name, amounts })
}

fn charges(fields: &mut Fields, charges: &[pb::Charge], currency: Option<Currency>) -> Option<Vec<Charge>> {
    if charges.len() > MAX_CHARGES {
        fields.bad("charges", format!("must be at most {MAX_CHARGES}"));
        return None;
    }
    let read = |(i, charge): (usize, &pb::Charge)| {
        let code = fields.text(&format!("charges[{i}].code"), &charge.code, 64);
        let description = fields.label(&format!("charges[{i}].description"), &charge.description, 200);
        let amount = fields.minor(&format!("charges[{i}].amount"), charge.amount.as_ref(), currency);
        amount.map(|amount_minor| Charge { code, description, amount_minor })
    };
    let read: Vec<_> = charges.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

fn tenders(fields: &mut Fields, tenders: &[pb::Tender], currency: Option<Currency>) -> Option<Vec<Tender>> {
    if tenders.len() > MAX_TENDERS {
        fields.bad("tenders", format!("must be at most {MAX_TENDERS}"));
        return None;
    }
    let read = |(i, tender): (usize, &pb::Tender)| {
        let id = fields.text(&format!("tenders[{i}].tender_id"), &tender.tender_id, 64);
        let kind = fields.text(&format!("tenders[{i}].kind"), &tender.kind, 32);
        let provider_ref = fields.label(&format!("tenders[{i}].provider_ref"), &tender.provider_ref, 128);
        let amount = fields.minor(&format!("tenders[{i}].amount"), tender.amount.as_ref(), currency);
        let state = match pb::TenderState::try_from(tender.state) {
            Ok(pb::TenderState::Unspecified | pb::TenderState::Due) => Some(TenderState::Due),
            Ok(pb::TenderState::Authorized) => Some(TenderState::Authorized),
            Ok(pb::TenderState::Captured) => Some(TenderState::Captured),
            Ok(pb::TenderState::Voided | pb::TenderState::Failed) | Err(_) => {
                fields.bad(format!("tenders[{i}].state"), "must be DUE, AUTHORIZED or CAPTURED");
                None
            }
        };
        Some(Tender { id, kind, amount_minor: amount?, state: state?, provider_ref, claimed_minor: 0 })
    };
    let read: Vec<_> = tenders.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

fn source(fields: &mut Fields, source: Option<Fulfillment>) -> Option<Source> {
    match source {
        None => {
            fields.bad("fulfillment", "is required: promise_token or destination");
            None
        }
        Some(Fulfillment::PromiseToken(token)) => {
            fields.take("promise_token", token.parse::<PromiseToken>()).map(Source::Token)
        }
        Some(Fulfillment::Destination(destination)) => {
            let node = fields.take("destination.node_id", NodeId::new(destination.node_id.as_str()));
            let name = PbMethod::try_from(destination.method).map_or("", |method| method.as_str_name());
            let method = Method::named(name.strip_prefix(METHOD_PREFIX).unwrap_or(name));
            let method = fields.take("destination.method", method);
            method.zip(node).map(|(method, node)| Source::Node { method, node })
        }
    }
}

/// A payment result to record.
#[derive(Debug, Clone)]
pub(crate) struct Pay {
    pub(crate) request_id: Uuid,
    pub(crate) body_hash: [u8; 32],
    pub(crate) order: OrderId,
    pub(crate) payment: Payment,
    pub(crate) currency: Currency,
}

pub(crate) fn pay_order(mut request: pb::PayOrderRequest) -> Result<Pay, Error> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(&std::mem::take(&mut request.request_id));
    let body_hash = body_hash(&request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let tender = fields.text("tender_id", &request.tender_id, 64);
    let provider_ref = fields.label("provider_ref", &request.provider_ref, 128);
    let state = match request.state() {
        pb::TenderState::Authorized => Some(TenderState::Authorized),
        pb::TenderState::Captured => Some(TenderState::Captured),
        pb::TenderState::Voided => Some(TenderState::Voided),
        pb::TenderState::Failed => Some(TenderState::Failed),
        pb::TenderState::Unspecified | pb::TenderState::Due => {
            fields.bad("state", "must be AUTHORIZED, CAPTURED, VOIDED or FAILED");
            None
        }
    };
    let currency = fields.currency("amount", request.amount.as_ref());
    let amount = currency.and_then(|c| fields.minor("amount", request.amount.as_ref(), Some(c)));
    let read = || {
        let payment = Payment { tender, state: state?, amount_minor: amount?, provider_ref };
        Some(Pay { request_id: request_id?, body_hash, order: order?, payment, currency: currency? })
    };
    let pay = read();
    fields.finish(pay)
}

/// Pieces to cancel.
#[derive(Debug, Clone)]
pub(crate) struct Cancel {
    pub(crate) request_id: Uuid,
    pub(crate) body_hash: [u8; 32],
    pub(crate) order: OrderId,
    pub(crate) lines: Vec<(LineNo, i64)>,
    pub(crate) reason: String,
}

pub(crate) fn cancel_order(mut request: pb::CancelOrderRequest, config: &Config) -> Result<Cancel, Error> {
    let mut fields = Fields::default();
    let request_id = fields.request_id(&std::mem::take(&mut request.request_id));
    let body_hash = body_hash(&request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let reason = fields.reason("reason", &request.reason);
    let mut lines: Vec<(LineNo, i64)> = Vec::new();
    if request.lines.len() > config.max_lines {
        fields.bad("lines", format!("must be at most {}", config.max_lines));
        request.lines.clear();
    }
    for (i, line) in request.lines.iter().enumerate() {
        let quantity = fields.take(&format!("lines[{i}].quantity"), Quantity::new(line.quantity));
        if line.line == 0 {
            fields.bad(format!("lines[{i}].line"), "must be at least 1");
        }
        if lines.iter().any(|(no, _)| *no == line.line) {
            fields.bad(format!("lines[{i}].line"), "must be named once");
        }
        lines.extend(quantity.map(|q| (line.line, q.get())));
    }
    let cancel = request_id.zip(order);
    fields.finish(cancel.map(|(request_id, order)| Cancel { request_id, body_hash, order, lines, reason }))
}

pub(crate) fn get_order(request: &pb::GetOrderRequest) -> Result<OrderId, Error> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    fields.finish(order)
}

/// A channel's number.
#[derive(Debug, Clone)]
pub(crate) struct Lookup {
    pub(crate) channel: String,
    pub(crate) channel_order_id: String,
}

pub(crate) fn lookup(request: &pb::GetOrderByChannelIdRequest) -> Result<Lookup, Error> {
    let mut fields = Fields::default();
    let channel = fields.channel("channel", &request.channel);
    let channel_order_id = fields.text("channel_order_id", &request.channel_order_id, 64);
    fields.finish(Some(Lookup { channel, channel_order_id }))
}

/// What to list, how much of it, and what binds a page token to it.
pub(crate) fn list_orders(request: pb::ListOrdersRequest) -> Result<(Filter, i64, [u8; 32]), Error> {
    let mut fields = Fields::default();
    let limit = fields.page_size(request.page_size, 50, 200);
    let given = request.filter.unwrap_or_default();
    let binding = body_hash(&given);
    let mut filter = Filter::default();
    if given.statuses.len() > MAX_STATUSES {
        fields.bad("filter.statuses", format!("must be at most {MAX_STATUSES}"));
    }
    for (i, number) in given.statuses.iter().take(MAX_STATUSES).enumerate() {
        match pb::OrderStatus::try_from(*number).ok().and_then(status_of) {
            Some(status) if filter.statuses.contains(&status) => {}
            Some(status) => filter.statuses.push(status),
            None => fields.bad(format!("filter.statuses[{i}]"), "is no status"),
        }
    }
    if !given.channel.is_empty() {
        filter.channel = fields.channel("filter.channel", &given.channel);
    }
    if !given.customer_ref.is_empty() {
        filter.customer_ref = fields.text("filter.customer_ref", &given.customer_ref, 64);
    }
    if !given.node_id.is_empty() {
        filter.node = fields.text("filter.node_id", &given.node_id, NodeId::MAX_CHARS);
    }
    filter.from = fields.time("filter.placed_from_time", given.placed_from_time);
    filter.before = fields.time("filter.placed_before_time", given.placed_before_time);
    if let (Some(from), Some(before)) = (filter.from, filter.before)
        && from >= before
    {
        fields.bad("filter.placed_before_time", "must be later than placed_from_time");
    }
    fields.finish(Some((filter, limit, binding)))
}

fn status_of(status: pb::OrderStatus) -> Option<Status> {
    match status {
        pb::OrderStatus::Placed => Some(Status::Placed),
        pb::OrderStatus::Confirmed => Some(Status::Confirmed),
        pb::OrderStatus::InFulfillment => Some(Status::InFulfillment),
        pb::OrderStatus::Completed => Some(Status::Completed),
        pb::OrderStatus::Cancelled => Some(Status::Cancelled),
        pb::OrderStatus::PaymentLapsed => Some(Status::PaymentLapsed),
        pb::OrderStatus::Expired => Some(Status::Expired),
        pb::OrderStatus::Unspecified => None,
    }
}

pub(crate) fn list_timeline(request: &pb::ListOrderTimelineRequest) -> Result<(OrderId, i64), Error> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let limit = fields.page_size(request.page_size, 100, 500);
    fields.finish(order.map(|order| (order, limit)))
}

pub(crate) fn watch_order(request: &pb::WatchOrderRequest) -> Result<(OrderId, i64), Error> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    if request.after_version < 0 {
        fields.bad("after_version", "must not be negative");
    }
    fields.finish(order.map(|order| (order, request.after_version)))
}

/// The aggregate, the first sequence, and how many.
pub(crate) fn replay(request: &pb::ReplayEventsRequest) -> Result<(Uuid, i64, i64), Error> {
    let mut fields = Fields::default();
    let read = Uuid::try_parse(&request.aggregate_id).map_err(|_| "must be a UUID");
    let aggregate = fields.take("aggregate_id", read);
    if request.from_sequence < 1 {
        fields.bad("from_sequence", "must be at least 1");
    }
    let limit = fields.page_size(request.page_size, 500, 500);
    fields.finish(aggregate.map(|aggregate| (aggregate, request.from_sequence, limit)))
}
