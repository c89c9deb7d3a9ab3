//! Requests as commands: shape only. What may happen is decided by `domain`.

use std::collections::HashSet;

use contract::orders::v1 as pb;
use domain::id::{LineNo, NodeId, OptionId, OrderId, PromiseToken, Sku};
use domain::money::Currency;
use domain::order::{Acceptance, Amounts, Charge, Draft, DraftLine, ReturnRule, Status, Tender, Terms};
use domain::quantity::Quantity;
use server::Principal;
use service::{Call, Fault, Fields};
use sha2::{Digest as _, Sha256};

use super::group::groups;
use super::money_request::tender;
use super::origin::origin;
use crate::command::{Cancel, Choose, Lookup, Place};
use crate::config::Config;
use crate::store::Filter;

const MAX_CHARGES: usize = 20;
const MAX_TENDERS: usize = 10;
const MAX_PROMOTIONS: usize = 20;
const MAX_STATUSES: usize = 32;

/// The hash of a filter: what makes a list the same list.
fn binding(message: &impl prost::Message) -> [u8; 32] {
    Sha256::digest(message.encode_to_vec()).into()
}

pub(crate) fn place_order(
    caller: &Principal,
    mut request: pb::PlaceOrderRequest,
    config: &Config,
) -> Result<Place, Fault> {
    let mut fields = Fields::default();
    // The hash leaves the id out: the same order may come again under another one.
    let request_id = std::mem::take(&mut request.request_id);
    let call = Call::read(&mut fields, caller, "orders.place", &request_id, &request);
    let token = match request.promise_token.as_str() {
        "" => Some(None),
        token => fields.take("promise_token", token.parse::<PromiseToken>()).map(Some),
    };
    // Amounts that do not go together are named only when the order is not looked at as a whole, which names them too.
    let mut amounts = Fields::default();
    let draft = draft(&mut fields, &mut amounts, &request, config);
    match &draft {
        Some(draft) if fields.is_empty() => {
            for flaw in draft.flaws() {
                fields.refuse(flaw.field, flaw.description);
            }
        }
        Some(_) | None => fields.append(amounts),
    }
    let lines = draft.as_ref().map(|draft| draft.lines.as_slice());
    let has_token = !request.promise_token.is_empty();
    let groups = groups(&mut fields, request.groups, lines, has_token, config.max_lines);
    let place = call.zip(token).zip(draft).zip(groups);
    fields.finish(place.map(|(((call, token), draft), groups)| Place { call, draft, groups, token }))
}

fn draft(
    fields: &mut Fields,
    amounts: &mut Fields,
    request: &pb::PlaceOrderRequest,
    config: &Config,
) -> Option<Draft> {
    let channel = channel(fields, "channel", &request.channel);
    let channel_order_id = fields.text("channel_order_id", &request.channel_order_id, 64);
    if !request.customer_ref.is_empty() {
        fields.text("customer_ref", &request.customer_ref, 64);
    }
    let origin = origin(fields, request);
    let terms = fields.take("payment_terms", contract::enums::known(request.payment_terms));
    let terms = terms.and_then(|asked| terms_of(fields, asked));
    let acceptance = acceptance(fields, request);
    let currency = fields.currency("total", request.total.as_ref());
    let total = currency.and_then(|c| fields.minor("total", request.total.as_ref(), Some(c)));
    let lines = lines(fields, amounts, request, currency, config.max_lines);
    let charges = charges(fields, &request.charges, terms, currency);
    let tenders = tenders(fields, &request.tenders, currency);
    Some(Draft {
        channel,
        channel_order_id,
        customer_ref: request.customer_ref.clone(),
        origin,
        currency: currency?,
        tax_included: request.tax_included,
        terms: terms?,
        acceptance: acceptance?,
        lines: lines?,
        charges: charges?,
        tenders: tenders?,
        total_minor: total?,
    })
}

fn terms_of(fields: &mut Fields, terms: pb::PaymentTerms) -> Option<Terms> {
    match terms {
        pb::PaymentTerms::Prepaid => Some(Terms::Prepaid),
        pb::PaymentTerms::PayAtHandover => Some(Terms::PayAtHandover),
        pb::PaymentTerms::OnAccount => Some(Terms::OnAccount),
        pb::PaymentTerms::Unspecified => {
            fields.refuse("payment_terms", "is required");
            None
        }
    }
}

/// On what terms the order comes. What was sold elsewhere has a code for what can't be had, and no promise.
fn acceptance(fields: &mut Fields, request: &pb::PlaceOrderRequest) -> Option<Acceptance> {
    let code = request.cancel_code.as_str();
    match fields.take("acceptance", contract::enums::known(request.acceptance))? {
        pb::Acceptance::Unspecified | pb::Acceptance::Checked => {
            fields.check(code.is_empty(), "cancel_code", "must be empty unless acceptance is SOLD_ELSEWHERE");
            Some(Acceptance::Checked)
        }
        pb::Acceptance::SoldElsewhere => {
            if !code.is_empty() {
                fields.reason("cancel_code", code);
            }
            let why = "must be empty where acceptance is SOLD_ELSEWHERE: what can be held is held now";
            fields.check(request.promise_token.is_empty(), "promise_token", why);
            Some(Acceptance::sold_elsewhere(code))
        }
    }
}

fn lines(
    fields: &mut Fields,
    amounts: &mut Fields,
    request: &pb::PlaceOrderRequest,
    currency: Option<Currency>,
    most: usize,
) -> Option<Vec<DraftLine>> {
    if request.lines.is_empty() || request.lines.len() > most {
        fields.refuse("lines", format!("must be 1 to {most}, not {}", request.lines.len()));
        return None;
    }
    let numbers = numbers(fields, &request.lines);
    let read: Vec<_> = request
        .lines
        .iter()
        .zip(&numbers)
        .enumerate()
        .map(|(i, (l, no))| {
            let line = line((&mut *fields, &mut *amounts), i, l, request, currency)?;
            Some(DraftLine { no: *no, ..line })
        })
        .collect();
    let all: Option<Vec<DraftLine>> = read.into_iter().collect();
    // Lines whose numbers are bad do not add up with groups.
    all.filter(|_| is_numbered(&numbers))
}

/// Each line has a number of its own.
fn is_numbered(numbers: &[LineNo]) -> bool {
    let seen: HashSet<LineNo> = numbers.iter().copied().collect();
    seen.len() == numbers.len() && !seen.contains(&0)
}

/// The numbers of the lines: the caller's, or 1, 2 .. when it gives none.
fn numbers(fields: &mut Fields, lines: &[pb::NewLine]) -> Vec<LineNo> {
    if lines.iter().all(|line| line.line == 0) {
        return (1..).take(lines.len()).collect();
    }
    let mut seen = HashSet::with_capacity(lines.len());
    for (i, line) in lines.iter().enumerate() {
        if line.line == 0 {
            fields.refuse(format_args!("lines[{i}].line"), "is required, as other lines have a number");
        } else if !seen.insert(line.line) {
            fields.refuse(format_args!("lines[{i}].line"), "duplicate");
        }
    }
    lines.iter().map(|line| line.line).collect()
}

fn line(
    (fields, bad_amounts): (&mut Fields, &mut Fields),
    i: usize,
    line: &pb::NewLine,
    request: &pb::PlaceOrderRequest,
    currency: Option<Currency>,
) -> Option<DraftLine> {
    let sku = fields.take(format_args!("lines[{i}].sku"), Sku::new(line.sku.as_str()));
    let name = fields.label(format_args!("lines[{i}].name"), &line.name, 200);
    let quantity = fields.take(format_args!("lines[{i}].quantity"), Quantity::new(line.quantity));
    let price = fields.minor(format_args!("lines[{i}].unit_price"), line.unit_price.as_ref(), currency);
    let discount =
        fields.minor_or_zero(format_args!("lines[{i}].discount"), line.discount.as_ref(), currency);
    let tax = fields.minor_or_zero(format_args!("lines[{i}].tax"), line.tax.as_ref(), currency);
    // Amounts are looked at together even when another field is bad, so that all are named at once. Without a quantity
    // nobody can tell what the line costs: then only what is bad by itself is.
    let promotions = promotions(fields, i, &line.promotions, currency);
    let (discount, tax) = (discount?, tax?);
    let (pieces, most) = quantity.map_or((1, 0), |quantity| (quantity.get(), i64::MAX));
    let amounts =
        Amounts { unit_price: price?, quantity: pieces, discount, tax, tax_included: request.tax_included };
    if let Err(flaws) = (Amounts { discount: discount.min(most), tax: tax.min(most), ..amounts }).total() {
        for flaw in flaws {
            bad_amounts.refuse(format_args!("lines[{i}].{}", flaw.field()), flaw);
        }
    }
    quantity?;
    Some(DraftLine { no: line.line, sku: sku?, name, amounts, promotions: promotions? })
}

fn charges(
    fields: &mut Fields,
    charges: &[pb::Charge],
    terms: Option<Terms>,
    currency: Option<Currency>,
) -> Option<Vec<Charge>> {
    if charges.len() > MAX_CHARGES {
        fields.refuse("charges", format!("must be at most {MAX_CHARGES}"));
        return None;
    }
    let read = |(i, charge): (usize, &pb::Charge)| {
        let code = fields.text(format_args!("charges[{i}].code"), &charge.code, 64);
        let description = fields.label(format_args!("charges[{i}].description"), &charge.description, 200);
        let amount = fields.minor(format_args!("charges[{i}].amount"), charge.amount.as_ref(), currency);
        let rule =
            fields.take(format_args!("charges[{i}].return_rule"), contract::enums::known(charge.return_rule));
        let rule = match rule? {
            pb::ReturnRule::Unspecified if terms == Some(Terms::PayAtHandover) => ReturnRule::ProRata,
            pb::ReturnRule::Unspecified | pb::ReturnRule::WithLastPiece => ReturnRule::WithLastPiece,
            pb::ReturnRule::ProRata => ReturnRule::ProRata,
            pb::ReturnRule::Kept => ReturnRule::Kept,
        };
        amount.map(|amount_minor| Charge { code, description, amount_minor, rule })
    };
    let read: Vec<_> = charges.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

/// What promotions take off a line. How they add up is looked at with the whole order.
fn promotions(
    fields: &mut Fields,
    i: usize,
    promotions: &[pb::Promotion],
    currency: Option<Currency>,
) -> Option<Vec<(String, i64)>> {
    let at = format!("lines[{i}].promotions");
    if promotions.len() > MAX_PROMOTIONS {
        fields.refuse(at, format!("must be at most {MAX_PROMOTIONS}"));
        return None;
    }
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let read = |(j, promotion): (usize, &pb::Promotion)| {
        let id = &promotion.promotion_id;
        let is_valid = (1..=64).contains(&id.len()) && id.bytes().all(plain);
        let why = "must be 1 to 64 of A-Z a-z 0-9 . _ -";
        fields.check(is_valid, format_args!("{at}[{j}].promotion_id"), why);
        let amount = fields.minor(format_args!("{at}[{j}].amount"), promotion.amount.as_ref(), currency);
        amount.map(|minor| (id.clone(), minor))
    };
    let read: Vec<_> = promotions.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

fn tenders(fields: &mut Fields, tenders: &[pb::Tender], currency: Option<Currency>) -> Option<Vec<Tender>> {
    if tenders.len() > MAX_TENDERS {
        fields.refuse("tenders", format!("must be at most {MAX_TENDERS}"));
        return None;
    }
    let read = |(i, given): (usize, &pb::Tender)| tender(fields, &format!("tenders[{i}]"), given, currency);
    let read: Vec<_> = tenders.iter().enumerate().map(read).collect();
    read.into_iter().collect()
}

pub(crate) fn cancel_order(
    caller: &Principal,
    mut request: pb::CancelOrderRequest,
    config: &Config,
) -> Result<Cancel, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.cancel", &request.request_id, &request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let reason = fields.reason("reason", &request.reason);
    let mut lines: Vec<(LineNo, i64)> = Vec::new();
    if request.lines.len() > config.max_lines {
        fields.refuse("lines", format!("must be at most {}", config.max_lines));
        request.lines.clear();
    }
    for (i, line) in request.lines.iter().enumerate() {
        let quantity = fields.take(format_args!("lines[{i}].quantity"), Quantity::new(line.quantity));
        if line.line == 0 {
            fields.refuse(format_args!("lines[{i}].line"), "must be at least 1");
        }
        if lines.iter().any(|(no, _)| *no == line.line) {
            fields.refuse(format_args!("lines[{i}].line"), "duplicate");
        }
        lines.extend(quantity.map(|q| (line.line, q.get())));
    }
    let cancel = call.zip(order);
    fields.finish(cancel.map(|(call, order)| Cancel { call, order, lines, reason }))
}

pub(crate) fn list_options(request: &pb::ListOptionsRequest) -> Result<OrderId, Fault> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    fields.finish(order)
}

pub(crate) fn choose_option(caller: &Principal, request: &pb::ChooseOptionRequest) -> Result<Choose, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.choose", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let option = fields.take("option_id", request.option_id.parse::<OptionId>());
    let choose = call.zip(order).zip(option);
    fields.finish(choose.map(|((call, order), option)| Choose { call, order, option }))
}

pub(crate) fn get_order(request: &pb::GetOrderRequest) -> Result<OrderId, Fault> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    fields.finish(order)
}

pub(crate) fn lookup(request: &pb::GetOrderByChannelIdRequest) -> Result<Lookup, Fault> {
    let mut fields = Fields::default();
    let channel = channel(&mut fields, "channel", &request.channel);
    let channel_order_id = fields.text("channel_order_id", &request.channel_order_id, 64);
    fields.finish(Some(Lookup { channel, channel_order_id }))
}

/// What to list, how much of it, and what binds a page token to it.
pub(crate) fn list_orders(request: pb::ListOrdersRequest) -> Result<(Filter, i64, [u8; 32]), Fault> {
    let mut fields = Fields::default();
    let limit = fields.page_size(request.page_size, 50, 200);
    let given = request.filter.unwrap_or_default();
    let binding = binding(&given);
    let mut filter = Filter::default();
    if given.statuses.len() > MAX_STATUSES {
        fields.refuse("filter.statuses", format!("must be at most {MAX_STATUSES}"));
    }
    for (i, number) in given.statuses.iter().take(MAX_STATUSES).enumerate() {
        let field = format!("filter.statuses[{i}]");
        let Some(asked) = fields.take(&field, contract::enums::known(*number)) else { continue };
        match status_of(asked) {
            Some(status) if filter.statuses.contains(&status) => {}
            Some(status) => filter.statuses.push(status),
            None => fields.refuse(field, "must not be UNSPECIFIED"),
        }
    }
    if !given.channel.is_empty() {
        filter.channel = channel(&mut fields, "filter.channel", &given.channel);
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
        fields.refuse("filter.placed_before_time", "must be later than placed_from_time");
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

pub(crate) fn list_timeline(request: &pb::ListOrderTimelineRequest) -> Result<(OrderId, i64), Fault> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let limit = fields.page_size(request.page_size, 100, 500);
    fields.finish(order.map(|order| (order, limit)))
}

pub(crate) fn watch_order(request: &pb::WatchOrderRequest) -> Result<(OrderId, i64), Fault> {
    let mut fields = Fields::default();
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    if request.after_version < 0 {
        fields.refuse("after_version", "must not be negative");
    }
    fields.finish(order.map(|order| (order, request.after_version)))
}

/// A name of a channel: 1 to 32 of `a-z 0-9 - _`.
fn channel(fields: &mut Fields, field: &str, text: &str) -> String {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    let is_valid = (1..=32).contains(&text.len()) && text.bytes().all(plain);
    fields.check(is_valid, field, "must be 1 to 32 of a-z 0-9 - _");
    text.to_owned()
}
