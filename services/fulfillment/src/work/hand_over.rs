//! Goods go to the customer against the code: all that is ready, or a part.
//!
//! The last code that was issued counts. One that was void before is refused as such and is no try: two people who ask
//! the channel for a code of the same order do not lock each other out.
//!
//! A wrong code counts for the fulfillment order that it was typed for, and for nothing else: five tries among 32^8 codes
//! find none, and what is typed for one order stops the handover of no other. Only look-ups by code, which name no order,
//! are throttled for a caller and a node.
//!
//! What is due is paid with the handover: both are one transaction, and neither happens without the other. What the payment
//! should be is said only to those who show the right code.
//!
//! A wrong code is a refusal that persists: its count commits although nothing is handed over or paid, and the same request
//! gets the same answer again without another count.

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::fulfillment::code::{Code, Tries};
use domain::fulfillment::stage::{Name, Proof};
use server::Principal;
use service::{Turn, once, speaks_for};

use super::change::Change;
use super::command::HandOver;
use super::key::same;
use crate::store::{code as store, record};
use crate::wire::work as wire;
use crate::{Error, Fulfillment};

/// The first byte of a saved refusal. No message begins with it.
const REFUSED: u8 = 0;

impl Fulfillment {
    pub(crate) async fn hand_over(
        &self,
        who: &Principal,
        command: &HandOver,
    ) -> Result<pb::FulfillmentOrder, Error> {
        db::retry(3, Error::is_retry, || self.try_hand_over(who, command)).await
    }

    async fn try_hand_over(
        &self,
        who: &Principal,
        command: &HandOver,
    ) -> Result<pb::FulfillmentOrder, Error> {
        let now = self.clock.business();
        let mut tx = match command.call.begin_raw(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(saved) => return answer(&saved),
        };
        let mut change = self.change(&mut tx, command.id, who.actor(), now).await?;
        if !speaks_for(who, &change.stored.order.node) {
            return Err(Error::FulfillmentNotFound(command.id.to_string()));
        }
        // What may happen at all is decided before the code, so that a look at the code is never for nothing; what is due is
        // answered after it.
        let (lines, payment) = (command.lines.as_deref(), command.payment.as_ref());
        let decided = match change.apply(|order, now| order.hand_over(lines, command.collector, payment, now))
        {
            Err(refusal) if !refusal.is_about_payment() => return Err(refusal.into()),
            decided => decided,
        };
        let stage = change.stored.order.method.rules().stage(Name::Done);
        if let Some(Proof::PickupCode) = stage.and_then(|stage| stage.proof)
            && let Some(wrong) = self.prove(&mut tx, who, &change, &command.code).await?
        {
            command.call.finish_raw(tx, &refusal(wrong)).await?;
            return Err(refused(wrong));
        }
        decided?;
        store::void(&mut tx, command.id, now).await?;
        self.save(&mut tx, &mut change).await?;
        record::handover(&mut tx, &change.stored, command, who.actor()).await?;
        self.answered(&mut tx, &change.stored.order.node, now).await?;
        let reply = wire::fulfillment_order(&change.stored);
        command.call.finish(tx, &reply).await?;
        self.note_answer(&change.stored.order.node);
        self.work.room.wake(&change.stored.order.node);
        Ok(reply)
    }

    /// Checks the code; a wrong one is counted, and the tries so far are the answer.
    async fn prove(
        &self,
        tx: &mut Tx,
        who: &Principal,
        change: &Change,
        code: &Code,
    ) -> Result<Option<Tries>, Error> {
        let order = &change.stored.order;
        let kept = store::of(tx, order.id).await?.ok_or(Error::NoCode(order.id))?;
        if kept.tries.is_locked() {
            return Err(Error::CodeLocked(order.id));
        }
        let digest = self.work.key.digest(&order.node, code);
        if same(&digest, &kept.digest) {
            return Ok(None);
        }
        // Nobody guessed it: the channel issued it, and another one since.
        if store::find_void(tx, &order.node, &digest).await? == Some(order.id) {
            return Err(Error::CodeVoid);
        }
        let tries = kept.tries.wrong();
        store::count_wrong(tx, order.id, tries).await?;
        tracing::warn!(fulfillment_id = %order.id, node_id = %order.node, actor = who.actor(), tries = tries.0,
            "a wrong pickup code");
        metrics::counter!("entrepot_fulfillment_wrong_codes_total").increment(1);
        Ok(Some(tries))
    }
}

fn refusal(tries: Tries) -> Vec<u8> {
    let mut saved = vec![REFUSED];
    saved.extend(tries.0.to_be_bytes());
    saved
}

fn refused(tries: Tries) -> Error {
    Error::WrongCode { tries_left: tries.left() }
}

/// The saved answer of an earlier call with the same request id.
fn answer(saved: &[u8]) -> Result<pb::FulfillmentOrder, Error> {
    match saved {
        [REFUSED, tries @ ..] => {
            let tries =
                <[u8; 8]>::try_from(tries).map_err(|_| Error::corrupt("a saved refusal".to_owned()))?;
            Err(refused(Tries(i64::from_be_bytes(tries))))
        }
        reply => Ok(once::reply(reply)?),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_saved_refusal_reads_back() {
        let tries = Tries(3);
        assert!(matches!(answer(&refusal(tries)), Err(Error::WrongCode { tries_left: 2 })));
        let order = pb::FulfillmentOrder { fulfillment_id: "ful_1".to_owned(), ..Default::default() };
        assert_eq!(answer(&order.encode_to_vec()).unwrap(), order);
    }
}
