//! Requests about money as commands: shape only.

use std::fmt::Display;

use contract::google::r#type::Money;
use contract::orders::v1 as pb;
use domain::id::{LineNo, OrderId, RefundId};
use domain::money::Currency;
use domain::order::{HANDOVER_PREFIX, PartId, Payment, Redirect, RefundAnswer, Tender, TenderState};
use server::Principal;
use service::{Call, Fault, Fields};

use crate::command::{AddTender, ClaimRefund, Pay, RedirectRefund, ReportRefund};

const MAX_CLAIMS: usize = 100;

/// A tender to be named. What it comes with of amounts paid is not read: that is what payments report.
pub(super) fn tender(
    fields: &mut Fields,
    at: &str,
    given: &pb::Tender,
    currency: Option<Currency>,
) -> Option<Tender> {
    let id = new_id(fields, format_args!("{at}.tender_id"), &given.tender_id);
    let kind = fields.text(format_args!("{at}.kind"), &given.kind, 32);
    let provider_ref = fields.label(format_args!("{at}.provider_ref"), &given.provider_ref, 128);
    let amount = fields.minor(format_args!("{at}.amount"), given.amount.as_ref(), currency);
    let state = match fields.take(format_args!("{at}.state"), contract::enums::known(given.state))? {
        pb::TenderState::Unspecified | pb::TenderState::Due => Some(TenderState::Due),
        pb::TenderState::Authorized => Some(TenderState::Authorized),
        pb::TenderState::Captured => Some(TenderState::Captured),
        pb::TenderState::Voided | pb::TenderState::Failed => {
            fields.refuse(format_args!("{at}.state"), "must be DUE, AUTHORIZED or CAPTURED");
            None
        }
    };
    Some(Tender { id, kind, amount_minor: amount?, replaced_minor: 0, state: state?, provider_ref })
}

/// The id of a new tender. Those that the platform makes for payments at handovers are its own.
fn new_id(fields: &mut Fields, field: impl Display, given: &str) -> String {
    let is_ours = given.starts_with(HANDOVER_PREFIX);
    let why = format_args!("must not begin with {HANDOVER_PREFIX}: payments at handovers have such ids");
    fields.check(!is_ours, &field, why);
    fields.text(field, given, 64)
}

pub(crate) fn pay_order(caller: &Principal, request: &pb::PayOrderRequest) -> Result<Pay, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.pay", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let tender = fields.text("tender_id", &request.tender_id, 64);
    let provider_ref = fields.label("provider_ref", &request.provider_ref, 128);
    let state = match fields.take("state", contract::enums::known(request.state)) {
        Some(pb::TenderState::Authorized) => Some(TenderState::Authorized),
        Some(pb::TenderState::Captured) => Some(TenderState::Captured),
        Some(pb::TenderState::Voided) => Some(TenderState::Voided),
        Some(pb::TenderState::Failed) => Some(TenderState::Failed),
        None => None,
        Some(pb::TenderState::Unspecified | pb::TenderState::Due) => {
            fields.refuse("state", "must be AUTHORIZED, CAPTURED, VOIDED or FAILED");
            None
        }
    };
    let currency = fields.currency("amount", request.amount.as_ref());
    let amount = currency.and_then(|c| fields.minor("amount", request.amount.as_ref(), Some(c)));
    let read = || {
        let payment = Payment { tender, state: state?, amount_minor: amount?, provider_ref };
        Some(Pay { call: call?, order: order?, payment, currency: currency? })
    };
    let pay = read();
    fields.finish(pay)
}

pub(crate) fn add_tender(caller: &Principal, request: &pb::AddTenderRequest) -> Result<AddTender, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.add_tender", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let given = fields.required("tender", request.tender.as_ref());
    let tender = given.and_then(|given| tender(&mut fields, "tender", given, None));
    let is_some = tender.as_ref().is_none_or(|tender| tender.amount_minor > 0);
    fields.check(is_some, "tender.amount", "must be more than 0");
    let currency = given.and_then(|given| given.amount.as_ref()).and_then(currency_of);
    let read = || Some(AddTender { call: call?, order: order?, tender: tender?, currency: currency? });
    let add = read();
    fields.finish(add)
}

/// The currency of an amount. A bad one is named where the amount is read.
fn currency_of(amount: &Money) -> Option<Currency> {
    Currency::new(&amount.currency_code).ok()
}

pub(crate) fn claim_refund(
    caller: &Principal,
    request: &pb::ClaimRefundRequest,
) -> Result<ClaimRefund, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.claim_refund", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let reason = fields.reason("reason", &request.reason);
    fields.count("claims", request.claims.len(), MAX_CLAIMS);
    let mut currency = None;
    let mut claims: Vec<(LineNo, i64, i64)> = Vec::new();
    for (i, claim) in request.claims.iter().take(MAX_CLAIMS).enumerate() {
        let amount = fields.minor(format_args!("claims[{i}].amount"), claim.amount.as_ref(), currency);
        fields.check(
            amount.is_none_or(|minor| minor > 0),
            format_args!("claims[{i}].amount"),
            "must be more than 0",
        );
        fields.check(claim.line > 0, format_args!("claims[{i}].line"), "must be at least 1");
        fields.check(claim.piece > 0, format_args!("claims[{i}].piece"), "must be at least 1");
        let is_twice = claims.iter().any(|(line, piece, _)| (*line, *piece) == (claim.line, claim.piece));
        fields.check(!is_twice, format_args!("claims[{i}].piece"), "duplicate");
        // All amounts have the currency of the first.
        currency = currency.or(claim.amount.as_ref().and_then(currency_of));
        claims.push((claim.line, claim.piece, amount.unwrap_or_default()));
    }
    let read = || Some(ClaimRefund { call: call?, order: order?, claims, reason, currency: currency? });
    let claim = read();
    fields.finish(claim)
}

pub(crate) fn report_refund(
    caller: &Principal,
    request: &pb::ReportRefundRequest,
) -> Result<ReportRefund, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.report_refund", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let refund = fields.take("refund_id", request.refund_id.parse::<RefundId>());
    let part = part(&mut fields, &request.tender_id, request.provider_ref.as_ref());
    let attempt = request.attempt;
    fields.check(attempt > 0, "attempt", "must be at least 1: that of the part in RefundRequested");
    let report_ref = fields.label("report_ref", &request.report_ref, 128);
    let is_done = match fields.take("state", contract::enums::known(request.state)) {
        Some(pb::RefundState::Done) => Some(true),
        Some(pb::RefundState::Failed) => Some(false),
        None => None,
        Some(
            pb::RefundState::Unspecified
            | pb::RefundState::Pending
            | pb::RefundState::FailedPermanent
            | pb::RefundState::Redirected,
        ) => {
            fields.refuse("state", "must be DONE or FAILED");
            None
        }
    };
    let read = || {
        let answer = RefundAnswer { is_done: is_done?, attempt, report_ref };
        Some(ReportRefund { call: call?, order: order?, refund: refund?, part, answer })
    };
    let report = read();
    fields.finish(report)
}

/// Which part of a refund is meant.
fn part(fields: &mut Fields, tender: &str, provider_ref: Option<&String>) -> PartId {
    let tender = fields.text("tender_id", tender, 64);
    PartId { tender, provider_ref: provider_ref.map(|given| fields.label("provider_ref", given, 128)) }
}

pub(crate) fn redirect_refund(
    caller: &Principal,
    request: &pb::RedirectRefundRequest,
) -> Result<RedirectRefund, Fault> {
    let mut fields = Fields::default();
    let call = Call::read(&mut fields, caller, "orders.redirect_refund", &request.request_id, request);
    let order = fields.take("order_id", request.order_id.parse::<OrderId>());
    let refund = fields.take("refund_id", request.refund_id.parse::<RefundId>());
    let from = part(&mut fields, &request.tender_id, request.provider_ref.as_ref());
    let to = Redirect {
        tender: new_id(&mut fields, "to_tender_id", &request.to_tender_id),
        kind: fields.text("to_kind", &request.to_kind, 32),
        provider_ref: fields.text("to_ref", &request.to_ref, 128),
    };
    let consent = fields.text("consent_ref", &request.consent_ref, 64);
    let read = || Some(RedirectRefund { call: call?, order: order?, refund: refund?, from, to, consent });
    let redirect = read();
    fields.finish(redirect)
}
