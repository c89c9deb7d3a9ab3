//! Requests on positions, and positions and movements in answers.

use contract::inventory::v1 as pb;
use domain::id;
use domain::name::check_name;
use domain::stock::Key;
use domain::stock::movement::Kind;
use domain::stock::pool::Pool;
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields};

use super::{call, complete, key, timestamp};
use crate::command::Change;
use crate::error::Error;
use crate::rights::own_node;
use crate::store;
use crate::store::positions::Slot;

/// The most settings of safety stock at once.
const MAX_SETTINGS: usize = 500;

/// Reads a change of one position.
pub(crate) fn adjust_stock(
    principal: &Principal,
    message: pb::AdjustStockRequest,
    now: Timestamp,
) -> Result<(Call, Change), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "adjust", &message.request_id, &message);
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
    let key = key(&mut fields, "", message.node_id, message.sku);
    fields.done()?;
    let (call, key) = complete(call, key)?;
    own_node(principal, &key.node)?;
    let reference = call.id.to_string();
    let change = Change {
        key,
        kind,
        quantity: message.quantity,
        reason: message.reason,
        reference,
        at: now,
        feed: None,
    };
    Ok((call, change))
}

/// Reads settings of safety stock.
pub(crate) fn set_safety_stock(
    principal: &Principal,
    message: pb::SetSafetyStockRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Change>), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "safety", &message.request_id, &message);
    fields.count("settings", message.settings.len(), MAX_SETTINGS);
    let mut changes = Vec::with_capacity(message.settings.len().min(MAX_SETTINGS));
    let reference = message.request_id;
    for (index, setting) in message.settings.into_iter().take(MAX_SETTINGS).enumerate() {
        let prefix = format_args!("settings[{index}].");
        let is_sane = setting.safety_stock.is_none_or(|units| (0..=1_000_000_000).contains(&units));
        fields.check(is_sane, format_args!("{prefix}safety_stock"), "must be between 0 and 1,000,000,000");
        let Some(key) = key(&mut fields, prefix, setting.node_id, setting.sku) else { continue };
        let (kind, quantity, reason) = match setting.safety_stock {
            Some(units) => (Kind::SafetyStock, units, format!("safety stock {units}")),
            None => (Kind::SafetyStockByPolicy, 0, "safety stock by policy".to_owned()),
        };
        changes.push(Change {
            key,
            kind,
            quantity,
            reason,
            reference: reference.clone(),
            at: now,
            feed: None,
        });
    }
    fields.done()?;
    changes.iter().try_for_each(|change| own_node(principal, &change.key.node))?;
    complete(call, Some(changes))
}

pub(crate) fn position(slot: &Slot) -> pb::Position {
    let position = &slot.position;
    pb::Position {
        node_id: slot.key.node.as_str().to_owned(),
        sku: slot.key.sku.as_str().to_owned(),
        on_hand: position.on_hand,
        reserved: position.reserved,
        safety_stock: position.safety_stock(),
        in_transit: position.in_transit,
        quarantine: position.quarantine,
        atp: position.atp(),
        count_blocked: position.count_blocked,
        version: slot.version,
        update_time: Some(timestamp(slot.updated_at)),
        channel_claims: slot.pools.iter().map(channel_claim).collect(),
    }
}

fn channel_claim(pool: &Pool) -> pb::ChannelClaim {
    pb::ChannelClaim { channel: (*pool.channel).to_owned(), reserved: pool.claimed, kept: pool.kept }
}

/// Each kind of movement with its word on the wire.
pub(crate) const KINDS: [(Kind, pb::MovementKind); 15] = [
    (Kind::Receipt, pb::MovementKind::Receipt),
    (Kind::Sale, pb::MovementKind::Sale),
    (Kind::Adjustment, pb::MovementKind::Adjustment),
    (Kind::Count, pb::MovementKind::Count),
    (Kind::Snapshot, pb::MovementKind::Snapshot),
    (Kind::Reserve, pb::MovementKind::Reserve),
    (Kind::Release, pb::MovementKind::Release),
    (Kind::Expire, pb::MovementKind::Expire),
    (Kind::Consume, pb::MovementKind::Consume),
    (Kind::Quarantine, pb::MovementKind::Quarantine),
    (Kind::ReleaseQuarantine, pb::MovementKind::ReleaseQuarantine),
    (Kind::WriteOff, pb::MovementKind::WriteOff),
    (Kind::CountBlock, pb::MovementKind::CountBlock),
    (Kind::SafetyStock, pb::MovementKind::SafetyStock),
    (Kind::SafetyStockByPolicy, pb::MovementKind::SafetyStockByPolicy),
];

pub(crate) fn movement(key: &Key, row: store::movements::Movement) -> pb::Movement {
    let kind = KINDS.iter().find(|(kind, _)| *kind == row.entry.kind);
    let name = format!("{}\n{}\n{}", key.node, key.sku, row.number);
    pb::Movement {
        movement_id: id::MovementId::new(id::derived("movement", &name)).to_string(),
        node_id: key.node.as_str().to_owned(),
        sku: key.sku.as_str().to_owned(),
        kind: kind.map_or(pb::MovementKind::Unspecified, |(_, word)| *word).into(),
        delta_on_hand: row.entry.delta_on_hand,
        delta_reserved: row.entry.delta_reserved,
        on_hand_after: row.entry.on_hand_after,
        reserved_after: row.entry.reserved_after,
        reason: row.reason,
        actor: row.actor,
        reference: row.reference,
        occurred_time: Some(timestamp(row.occurred_at)),
        position_version: row.position_version,
    }
}
