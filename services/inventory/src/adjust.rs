//! Adjust: corrections by staff, and the safety stock.

use contract::inventory::v1 as pb;
use domain::stock::Refusal;
use jiff::Timestamp;
use server::{Principal, Violation};
use service::{Call, Fault, Turn, once};

use crate::Inventory;
use crate::change;
use crate::command::{Change, Verdict};
use crate::error::Error;
use crate::store::positions::Slot;
use crate::wire;

impl Inventory {
    pub(crate) async fn adjust(
        &self,
        who: &Principal,
        (call, change): (Call, Change),
    ) -> Result<pb::AdjustStockResponse, Error> {
        let work = || self.adjust_once(who, &call, &change, change.at);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn adjust_once(
        &self,
        who: &Principal,
        call: &Call,
        change: &Change,
        now: Timestamp,
    ) -> Result<pb::AdjustStockResponse, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let changes = std::slice::from_ref(change);
        let (verdicts, slots) =
            change::apply(&mut tx, changes, &who.actor().into(), &self.policies.book(), now).await?;
        refuse(&verdicts, |_| "sku".to_owned())?;
        let answer = pb::AdjustStockResponse { position: slots.first().map(wire::position) };
        call.finish(tx, &answer).await?;
        Ok(answer)
    }

    pub(crate) async fn set_safety_stock(
        &self,
        who: &Principal,
        (call, changes): (Call, Vec<Change>),
    ) -> Result<pb::SetSafetyStockResponse, Error> {
        let now = self.clock.business();
        let work = || self.set_once(who, &call, &changes, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn set_once(
        &self,
        who: &Principal,
        call: &Call,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<pb::SetSafetyStockResponse, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let (verdicts, slots) =
            change::apply(&mut tx, changes, &who.actor().into(), &self.policies.book(), now).await?;
        refuse(&verdicts, |index| format!("settings[{index}].sku"))?;
        let find =
            |change: &Change| slots.iter().find(|slot: &&Slot| slot.key == change.key).map(wire::position);
        let answer = pb::SetSafetyStockResponse { positions: changes.iter().filter_map(find).collect() };
        call.finish(tx, &answer).await?;
        Ok(answer)
    }
}

/// All or nothing: what was refused fails the request.
fn refuse(verdicts: &[Verdict], field: impl Fn(usize) -> String) -> Result<(), Error> {
    let mut violations = Vec::new();
    for (index, verdict) in verdicts.iter().enumerate() {
        match verdict {
            Verdict::Applied | Verdict::Duplicate | Verdict::Reused { .. } | Verdict::Stale(_) => {}
            Verdict::UnknownSku | Verdict::Damaged(_) => {
                violations.push(Violation::new(field(index), "the sku does not exist"));
            }
            Verdict::IsKit => {
                violations
                    .push(Violation::new(field(index), "a kit has no stock of its own; name its parts"));
            }
            Verdict::Refused(refusal @ Refusal::Quantity { .. }) => {
                violations.push(Violation::new("quantity", refusal.to_string()));
            }
            Verdict::Refused(refusal) => return Err(refusal.clone().into()),
        }
    }
    if violations.is_empty() { Ok(()) } else { Err(Fault::Invalid(violations).into()) }
}
