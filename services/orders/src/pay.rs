//! Recording what a payment provider said of a tender.

use contract::orders::v1 as pb;
use domain::id::{OrderId, PromiseToken};
use domain::order::{Hold, Order, Refusal, TenderState};
use domain::time::{Timestamp, after_ms};
use server::Principal;
use service::{Call, Turn};

use crate::command::Pay;
use crate::error::Error;
use crate::hold::{self, Wanted};
use crate::{Orders, rights, steps, store, wire};

/// How often the order is looked at again when it changed while stock was being held for it.
const ATTEMPTS: u32 = 3;

impl Orders {
    /// Records a payment result. Late money takes the stock again, or goes back.
    pub(crate) async fn pay(&self, command: Pay, caller: &Principal) -> Result<pb::PayOrderResponse, Error> {
        let call = &command.call;
        if let Some(reply) = call.saved(&self.db).await? {
            return Ok(reply);
        }
        for _ in 0..ATTEMPTS {
            let now = self.clock.business();
            let seen = self.find_as_of(command.order, now).await?;
            rights::may_pay(caller, &seen)?;
            if seen.currency != command.currency {
                let text = format!("must be {}, the currency of the order", seen.currency);
                return Err(Error::field("amount.currency_code", text));
            }
            let hold = match self.hold_for(&seen, &command, call, now).await {
                // A duplicate of this call was faster, and the order has what it held.
                Err(Error::PromiseTaken) => continue,
                hold => hold?,
            };
            let write = || self.write_payment(&command, &hold, call, caller, now);
            let written = db::retry(3, Error::is_retry, write).await;
            if let Hold::Held(legs) = &hold
                && let Some(token) = legs.first().and_then(|leg| leg.token)
                && !written.as_ref().is_ok_and(|reply| uses(reply, token))
            {
                self.release_unless_used(token, command.order).await;
            }
            match written {
                Err(Error::Refused(Refusal::NeedsHold)) => {}
                Ok(reply) => {
                    self.watchers.wake(&command.order.uuid());
                    return Ok(reply);
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::ChangedMeanwhile)
    }

    /// Stock for a payment that comes after the claim was given up.
    async fn hold_for(
        &self,
        seen: &Order,
        command: &Pay,
        call: &Call,
        now: Timestamp,
    ) -> Result<Hold, Error> {
        if !seen.needs_hold(&command.payment) {
            return Ok(Hold::NotAsked);
        }
        let key = format!("{}/{}/{}", call.scope, call.id, seen.version);
        let until = after_ms(now, self.config.hold_ms(false));
        match self.hold(&key, &Wanted::again(seen), until, now).await {
            Ok(held) => Ok(Hold::Held(held.legs)),
            Err(Error::Peer(answer)) if hold::is_definite(&answer) => {
                Ok(Hold::Refused { reason: hold::reason(&answer) })
            }
            Err(error) => Err(error),
        }
    }

    /// A hold goes back, unless an answer that we did not get to see says that the order has it.
    async fn release_unless_used(&self, token: PromiseToken, order: OrderId) {
        match self.find(order).await {
            Ok(order) if order.legs.iter().all(|leg| leg.token != Some(token)) => self.release(token).await,
            Ok(_) => {}
            Err(error) => tracing::warn!(promise_token = %token, %error, "an unneeded hold will run out"),
        }
    }

    async fn write_payment(
        &self,
        command: &Pay,
        hold: &Hold,
        call: &Call,
        caller: &Principal,
        now: Timestamp,
    ) -> Result<pb::PayOrderResponse, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::Answered(reply) => return Ok(reply),
            Turn::New(tx) => tx,
        };
        let before = store::lock(&mut tx, command.order).await?;
        let payment = &command.payment;
        let changed = before.order.clone().pay(payment, hold.clone(), now)?;
        let said = match payment.state {
            TenderState::Failed => Some(("PAYMENT_FAILED", "the provider refused")),
            TenderState::Voided => Some(("PAYMENT_VOIDED", "given up before capture")),
            TenderState::Due | TenderState::Authorized | TenderState::Captured => None,
        };
        let actor = caller.actor();
        let note = said
            .filter(|_| !changed.events.is_empty())
            .map(|(step, text)| steps::note(step, format!("{}: {text}", payment.tender), actor, now));
        let reply = pb::PayOrderResponse { order: Some(wire::order(&changed.order)) };
        self.record(&mut tx, before, changed, note.into_iter().collect(), actor, now).await?;
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}

/// Whether the order came out of its payment with this promise.
fn uses(reply: &pb::PayOrderResponse, token: PromiseToken) -> bool {
    let token = token.to_string();
    let mut legs = reply.order.iter().flat_map(|order| &order.groups).flat_map(|group| &group.legs);
    legs.any(|leg| leg.promise_token == token)
}
