//! Adjust: corrections by staff, and the safety stock.

use contract::inventory::v1 as pb;
use domain::name::check_name;
use domain::stock::Refusal;
use domain::stock::movement::Kind;
use jiff::Timestamp;
use server::{Principal, Violation};
use service::{Call, Fault, Fields, Turn, once};

use crate::Inventory;
use crate::error::Error;
use crate::goods::{self, Change, Verdict};
use crate::ledger::Slot;
use crate::rights::own_node;
use crate::wire;

/// The most settings of safety stock at once.
const MAX_SETTINGS: usize = 500;

impl Inventory {
    pub(crate) async fn adjust(
        &self,
        principal: &Principal,
        message: pb::AdjustStockRequest,
    ) -> Result<pb::AdjustStockResponse, Error> {
        let now = self.clock.business();
        let (request, change) = adjustment(principal, message, now)?;
        let work = || self.adjust_once(principal, &request, &change, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn adjust_once(
        &self,
        principal: &Principal,
        request: &Call,
        change: &Change,
        now: Timestamp,
    ) -> Result<pb::AdjustStockResponse, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let changes = std::slice::from_ref(change);
        let (verdicts, slots) = goods::apply(&mut tx, changes, &principal.as_str().into(), now).await?;
        refuse(&verdicts, |_| "sku".to_owned())?;
        let answer = pb::AdjustStockResponse { position: slots.first().map(wire::position) };
        request.finish(tx, &answer).await?;
        Ok(answer)
    }

    pub(crate) async fn set_safety_stock(
        &self,
        principal: &Principal,
        message: pb::SetSafetyStockRequest,
    ) -> Result<pb::SetSafetyStockResponse, Error> {
        let now = self.clock.business();
        let (request, changes) = settings(principal, message, now)?;
        let work = || self.set_once(principal, &request, &changes, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn set_once(
        &self,
        principal: &Principal,
        request: &Call,
        changes: &[Change],
        now: Timestamp,
    ) -> Result<pb::SetSafetyStockResponse, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let (verdicts, slots) = goods::apply(&mut tx, changes, &principal.as_str().into(), now).await?;
        refuse(&verdicts, |index| format!("settings[{index}].sku"))?;
        let find =
            |change: &Change| slots.iter().find(|slot: &&Slot| slot.key == change.key).map(wire::position);
        let answer = pb::SetSafetyStockResponse { positions: changes.iter().filter_map(find).collect() };
        request.finish(tx, &answer).await?;
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

fn adjustment(
    principal: &Principal,
    message: pb::AdjustStockRequest,
    now: Timestamp,
) -> Result<(Call, Change), Error> {
    let mut fields = Fields::default();
    let request = wire::request(&mut fields, principal, "adjust", &message.request_id, &message);
    fields.take("reason", check_name(&message.reason, 200));
    let adjustment = contract::enums::known(message.adjustment);
    let kind = match fields.take("adjustment", adjustment) {
        Some(pb::Adjustment::Unspecified) => {
            fields.refuse("adjustment", "is required");
            Kind::Adjustment
        }
        None | Some(pb::Adjustment::Delta) => Kind::Adjustment,
        Some(pb::Adjustment::Count) => Kind::Count,
        Some(pb::Adjustment::Quarantine) => Kind::Quarantine,
        Some(pb::Adjustment::ReleaseQuarantine) => Kind::ReleaseQuarantine,
        Some(pb::Adjustment::WriteOff) => Kind::WriteOff,
    };
    let key = wire::key(&mut fields, "", message.node_id, message.sku);
    fields.done()?;
    let (Some(request), Some(key)) = (request, key) else {
        return Err(Error::field("request_id", "is required"));
    };
    own_node(principal, &key.node)?;
    let reference = request.id.to_string();
    let change = Change {
        key,
        kind,
        quantity: message.quantity,
        reason: message.reason,
        reference,
        at: now,
        feed: None,
    };
    Ok((request, change))
}

fn settings(
    principal: &Principal,
    message: pb::SetSafetyStockRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Change>), Error> {
    let mut fields = Fields::default();
    let request = wire::request(&mut fields, principal, "safety", &message.request_id, &message);
    fields.count("settings", message.settings.len(), MAX_SETTINGS);
    let mut changes = Vec::with_capacity(message.settings.len().min(MAX_SETTINGS));
    let reference = message.request_id;
    for (index, setting) in message.settings.into_iter().take(MAX_SETTINGS).enumerate() {
        let prefix = format_args!("settings[{index}].");
        let units = setting.safety_stock;
        let is_sane = (0..=1_000_000_000).contains(&units);
        fields.check(is_sane, format_args!("{prefix}safety_stock"), "must be between 0 and 1,000,000,000");
        let Some(key) = wire::key(&mut fields, prefix, setting.node_id, setting.sku) else { continue };
        changes.push(Change {
            key,
            kind: Kind::SafetyStock,
            quantity: units,
            reason: format!("safety stock {units}"),
            reference: reference.clone(),
            at: now,
            feed: None,
        });
    }
    fields.done()?;
    changes.iter().try_for_each(|change| own_node(principal, &change.key.node))?;
    Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, changes))
}
