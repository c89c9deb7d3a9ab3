//! Refunds: money back without goods, what providers answer, and another way for what failed for good.

use contract::orders::v1 as pb;
use domain::id::OrderId;
use domain::money::Money;
use domain::order::{Changed, Event, Order, Refusal};
use domain::time::Timestamp;
use server::Principal;
use service::Call;

use crate::command::{ClaimRefund, RedirectRefund, ReportRefund};
use crate::error::Error;
use crate::reply::Reply;
use crate::store::Note;
use crate::{Orders, rights, steps};

/// The most refunds of an order: nobody claims more by hand.
const MAX_REFUNDS: usize = 200;

impl Orders {
    /// Gives money back for pieces that the customer keeps or still gets.
    pub(crate) async fn claim_refund(
        &self,
        command: ClaimRefund,
        caller: &Principal,
    ) -> Result<pb::ClaimRefundResponse, Error> {
        let claim = |order: Order, now| {
            if order.currency != command.currency {
                let text = format!("must be {}, the currency of the order", order.currency);
                return Err(Error::field("claims[0].amount.currency_code", text));
            }
            if order.ledger.refunds.len() >= MAX_REFUNDS {
                let text = format!("the order has {MAX_REFUNDS} refunds, which is the most");
                return Err(Error::field("claims", text));
            }
            let currency = order.currency;
            let changed = order.claim(&command.claims, &command.reason, now);
            let changed = changed.map_err(|refusal| no_such_piece(refusal, &command))?;
            let is_unpaid = changed.events.iter().any(|event| matches!(event, Event::MoneyChanged { .. }));
            let lower = || {
                let sum = command.claims.iter().map(|(.., minor)| minor).sum();
                let text = format!("{} less is due: {}", Money::new(sum, currency), command.reason);
                steps::note("PRICE_LOWERED", text, caller.actor(), now)
            };
            Ok((changed, is_unpaid.then(lower)))
        };
        self.change_by(&command.call, command.order, caller, claim).await
    }

    /// Records a provider's answer to a refund.
    pub(crate) async fn report_refund(
        &self,
        command: ReportRefund,
        caller: &Principal,
    ) -> Result<pb::ReportRefundResponse, Error> {
        let ReportRefund { refund, part, answer, .. } = &command;
        let report = |order: Order, now| {
            let changed = order.report_refund(*refund, part, answer, now)?;
            Ok((changed, None))
        };
        self.change_by(&command.call, command.order, caller, report).await
    }

    /// Pays a refund that failed for good by another tender.
    pub(crate) async fn redirect_refund(
        &self,
        command: RedirectRefund,
        caller: &Principal,
    ) -> Result<pb::RedirectRefundResponse, Error> {
        rights::must_be_staff(caller)?;
        let RedirectRefund { refund, from, to, consent, .. } = &command;
        let redirect = |order: Order, now| {
            let currency = order.currency;
            let changed = order.redirect_refund(*refund, from, to, now).map_err(|refusal| match refusal {
                Refusal::TenderTaken { .. } => Error::field("to_tender_id", refusal.to_string()),
                refusal => refusal.into(),
            })?;
            let known = changed.order.ledger.refunds.iter().find(|known| known.id == *refund);
            let part = known.and_then(|known| known.parts.iter().find(|part| part.tender == to.tender));
            let amount = Money::new(part.map_or(0, |part| part.amount_minor), currency);
            let text = format!(
                "{amount} goes to {} ({}) instead of {}, consent {consent}",
                to.tender, to.kind, from.tender
            );
            Ok((changed, Some(steps::note("REFUND_REDIRECTED", text, caller.actor(), now))))
        };
        self.change_by(&command.call, command.order, caller, redirect).await
    }

    /// One transition that a call asks for, on the order as time has left it.
    async fn change_by<R: Reply>(
        &self,
        call: &Call,
        order: OrderId,
        caller: &Principal,
        transition: impl Fn(Order, Timestamp) -> Result<(Changed, Option<Note>), Error>,
    ) -> Result<R, Error> {
        if let Some(reply) = call.saved(&self.db).await? {
            return Ok(reply);
        }
        let now = self.clock.business();
        self.find_as_of(order, now).await?;
        let answered = |order: Order| {
            let (changed, note) = transition(order, now)?;
            let reply = R::of(&changed.order);
            Ok((changed, note, reply))
        };
        let write = || self.write_by(call, order, caller, now, answered);
        let reply = db::retry(3, Error::is_retry, write).await?;
        self.watchers.wake(&order.uuid());
        Ok(reply)
    }
}

/// A line or a piece that the order does not have is a wrong field.
fn no_such_piece(refusal: Refusal, command: &ClaimRefund) -> Error {
    let mut claims = command.claims.iter();
    let (at, field) = match refusal {
        Refusal::UnknownLine { line } => (claims.position(|(no, ..)| *no == line), "line"),
        Refusal::UnknownPiece { line, piece, .. } => {
            (claims.position(|(no, of_line, _)| (*no, *of_line) == (line, piece)), "piece")
        }
        other => return other.into(),
    };
    match at {
        Some(at) => Error::field(format!("claims[{at}].{field}"), refusal.to_string()),
        None => refusal.into(),
    }
}
