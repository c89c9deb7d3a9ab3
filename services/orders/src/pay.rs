//! Money that comes in: what a payment provider said of a tender, and tenders that are added.

use contract::orders::v1 as pb;
use domain::id::OrderId;
use domain::money::Currency;
use domain::order::{Cause, Changed, Hold, Order, Payment, Policy, Refusal, Row, Tender, TenderState};
use domain::time::{Timestamp, after_ms};
use server::Principal;
use service::Call;

use crate::command::{AddTender, Pay};
use crate::error::Error;
use crate::hold::{self, Wanted};
use crate::reply::{Reply, uses};
use crate::store::Note;
use crate::{Orders, rights, steps};

/// How often the order is looked at again when it changed while stock was being held for it.
const ATTEMPTS: u32 = 3;
/// The most tenders of an order: no more are added beyond these.
const MAX_TENDERS: usize = 50;
/// The most authorizations and captures of an order: a refund names each capture that it is taken from.
const MAX_RECEIPTS: usize = 500;

/// What comes in.
enum Receipt<'a> {
    /// A payment result of a tender.
    Payment(&'a Payment),
    /// Another tender, which may be paid already.
    Tender(&'a Tender),
}

impl Receipt<'_> {
    /// The field of the request that has its amount.
    const fn amount_field(&self) -> &'static str {
        match self {
            Self::Payment(_) => "amount",
            Self::Tender(_) => "tender.amount",
        }
    }

    fn needs_hold(&self, order: &Order, now: Timestamp) -> bool {
        match self {
            Self::Payment(payment) => order.needs_hold(payment, now),
            Self::Tender(tender) => order.needs_hold_for(tender, now),
        }
    }

    fn apply(&self, order: Order, hold: Hold, policy: &Policy, now: Timestamp) -> Result<Changed, Error> {
        match self {
            Self::Payment(payment) => {
                let is_receipt = |row: &&Row| matches!(row.cause, Cause::Authorized | Cause::Captured);
                let receipts = order.ledger.rows.iter().filter(is_receipt).count();
                if receipts >= MAX_RECEIPTS && payment.state.counts() && !order.ledger.has_heard(payment) {
                    let text = format!("the order has {MAX_RECEIPTS} payments, which is the most");
                    return Err(Error::field("state", text));
                }
                Ok(order.pay(payment, hold, policy, now)?)
            }
            Self::Tender(tender) => {
                if order.ledger.tenders.len() >= MAX_TENDERS {
                    let text = format!("the order has {MAX_TENDERS} tenders, which is the most");
                    return Err(Error::field("tender", text));
                }
                order.add_tender(tender, hold, policy, now).map_err(|refusal| match refusal {
                    Refusal::TenderTaken { .. } => Error::field("tender.tender_id", refusal.to_string()),
                    refusal => refusal.into(),
                })
            }
        }
    }

    /// The step of the timeline that no event stands for.
    fn note(&self, changed: &Changed, actor: &str, now: Timestamp) -> Option<Note> {
        let Self::Payment(payment) = self else { return None };
        let (step, text) = match payment.state {
            TenderState::Failed => ("PAYMENT_FAILED", "the provider refused"),
            TenderState::Voided => ("PAYMENT_VOIDED", "given up before capture"),
            TenderState::Due | TenderState::Authorized | TenderState::Captured => return None,
        };
        let text = format!("{}: {text}", payment.tender);
        (!changed.events.is_empty()).then(|| steps::note(step, text, actor, now))
    }
}

/// A receipt, and the call that it came by.
struct Receiving<'a> {
    call: &'a Call,
    order: OrderId,
    currency: Currency,
    receipt: Receipt<'a>,
    caller: &'a Principal,
}

impl Orders {
    /// Records a payment result. Late money takes the stock again, or what can't be held is looked for.
    pub(crate) async fn pay(&self, command: Pay, caller: &Principal) -> Result<pb::PayOrderResponse, Error> {
        let Pay { call, order, payment, currency } = &command;
        let receipt = Receipt::Payment(payment);
        self.receive(Receiving { call, order: *order, currency: *currency, receipt, caller }).await
    }

    /// Adds a tender, which may be paid already.
    pub(crate) async fn add_tender(
        &self,
        command: AddTender,
        caller: &Principal,
    ) -> Result<pb::AddTenderResponse, Error> {
        let AddTender { call, order, tender, currency } = &command;
        let receipt = Receipt::Tender(tender);
        self.receive(Receiving { call, order: *order, currency: *currency, receipt, caller }).await
    }

    async fn receive<R: Reply>(&self, receiving: Receiving<'_>) -> Result<R, Error> {
        let Receiving { call, order, currency, receipt, caller } = &receiving;
        if let Some(reply) = call.saved(&self.db).await? {
            return Ok(reply);
        }
        for _ in 0..ATTEMPTS {
            let now = self.clock.business();
            let seen = self.find_as_of(*order, now).await?;
            rights::may_pay(caller, &seen)?;
            if seen.currency != *currency {
                let field = format!("{}.currency_code", receipt.amount_field());
                return Err(Error::field(
                    field,
                    format!("must be {}, the currency of the order", seen.currency),
                ));
            }
            let hold = match self.hold_for(&seen, receipt, call, now).await {
                // A duplicate of this call was faster, and the order has what it held.
                Err(Error::PromiseTaken) => continue,
                hold => hold?,
            };
            let write = || self.write_receipt::<R>(&receiving, &hold, now);
            let written = db::retry(3, Error::is_retry, write).await;
            if let Hold::Held(legs) = &hold
                && let Some(token) = legs.first().and_then(|leg| leg.token)
                && !written.as_ref().is_ok_and(|reply| uses(reply, token))
            {
                self.release_unless_used(token, *order).await;
            }
            match written {
                Err(Error::Refused(Refusal::NeedsHold)) => {}
                Ok(reply) => {
                    self.watchers.wake(&order.uuid());
                    return Ok(reply);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::ChangedMeanwhile)
    }

    /// Stock for money that comes after the claim was given up, or after the time that was promised.
    async fn hold_for(
        &self,
        seen: &Order,
        receipt: &Receipt<'_>,
        call: &Call,
        now: Timestamp,
    ) -> Result<Hold, Error> {
        if !receipt.needs_hold(seen, now) {
            return Ok(Hold::NotAsked);
        }
        let key = format!("{}/{}/{}", call.scope, call.id, seen.version);
        let until = after_ms(now, self.config.hold_ms(None));
        match self.hold(&key, &Wanted::again(seen, now), until, now).await {
            Ok(held) => Ok(Hold::Held(held.legs)),
            // The customer is not kept waiting for longer than agreed, but asked.
            Err(error) => hold::refusal(&error).map(|reason| Hold::Refused { reason }).ok_or(error),
        }
    }

    async fn write_receipt<R: Reply>(
        &self,
        receiving: &Receiving<'_>,
        hold: &Hold,
        now: Timestamp,
    ) -> Result<R, Error> {
        let Receiving { call, order, receipt, caller, .. } = receiving;
        let received = |order| {
            let policy = self.policy_of(&order, now);
            let changed = receipt.apply(order, hold.clone(), &policy, now)?;
            let note = receipt.note(&changed, caller.actor(), now);
            let reply = R::of(&changed.order);
            Ok((changed, note, reply))
        };
        self.write_by(call, *order, caller, now, received).await
    }
}
