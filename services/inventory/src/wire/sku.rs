//! Items of the master of SKUs, both ways.

use std::collections::BTreeSet;

use contract::inventory::v1 as pb;
use domain::id::{Sku, check_text};
use domain::name::check_name;
use domain::stock::kit::{Kit, Part};
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields};

use super::{call, complete, timestamp};
use crate::command::Draft;
use crate::error::Error;
use crate::store::skus::{Item, UNITS};

/// The most SKUs of one call.
const MAX_SKUS: usize = 500;
/// The longest name.
pub(crate) const MAX_NAME: usize = 200;
/// The longest category.
const MAX_CATEGORY: usize = 64;
/// A piece weighs at most a hundred tons.
const MAX_WEIGHT_G: i64 = 100_000_000;

/// Reads items that are to be put.
pub(crate) fn put_skus(
    principal: &Principal,
    message: pb::PutSkusRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Draft>), Error> {
    let mut fields = Fields::default();
    let call = call(&mut fields, principal, "put_skus", &message.request_id, &message);
    fields.count("skus", message.skus.len(), MAX_SKUS);
    let mut drafts: Vec<Draft> = Vec::with_capacity(message.skus.len().min(MAX_SKUS));
    let mut seen = BTreeSet::new();
    for (index, sku) in message.skus.into_iter().take(MAX_SKUS).enumerate() {
        if let Some(draft) = draft(&mut fields, index, sku, now) {
            let is_new = seen.insert(draft.item.sku.clone());
            fields.check(is_new, format_args!("skus[{index}].sku"), "duplicate");
            drafts.push(draft);
        }
    }
    fields.done()?;
    complete(call, Some(drafts))
}

fn draft(fields: &mut Fields, index: usize, sku: pb::Sku, now: Timestamp) -> Option<Draft> {
    let prefix = format_args!("skus[{index}].");
    let unit = contract::enums::known(sku.unit);
    let unit = match fields.take(format_args!("{prefix}unit"), unit) {
        None | Some(pb::Unit::Unspecified | pb::Unit::Piece) => UNITS[0],
        Some(pb::Unit::WeighedPiece) => UNITS[1],
    };
    fields.take(format_args!("{prefix}name"), check_name(&sku.name, MAX_NAME));
    let handling_class =
        if sku.handling_class.is_empty() { "ambient".to_owned() } else { sku.handling_class };
    fields.take(format_args!("{prefix}handling_class"), check_text(&handling_class, 64));
    if !sku.category.is_empty() {
        fields.take(format_args!("{prefix}category"), check_text(&sku.category, MAX_CATEGORY));
    }
    let is_sane = (0..=MAX_WEIGHT_G).contains(&sku.weight_g);
    fields.check(is_sane, format_args!("{prefix}weight_g"), "must be between 0 and 100,000,000");
    let etag = match sku.etag.as_str() {
        "" => None,
        text => Some(fields.take(format_args!("{prefix}etag"), text.parse::<i64>())?),
    };
    let code = fields.take(format_args!("{prefix}sku"), Sku::new(sku.sku))?;
    let kit = if sku.kit_parts.is_empty() { None } else { Some(kit(fields, index, &code, sku.kit_parts)?) };
    let item = Item {
        sku: code,
        name: sku.name,
        unit,
        handling_class,
        weight_g: sku.weight_g,
        category: sku.category,
        kit,
        version: 0,
        updated_at: now,
    };
    Some(Draft { item, etag })
}

fn kit(fields: &mut Fields, index: usize, code: &Sku, parts: Vec<pb::KitPart>) -> Option<Kit> {
    let mut list = Vec::with_capacity(parts.len());
    for (at, part) in parts.into_iter().enumerate() {
        let sku = fields.take(format_args!("skus[{index}].kit_parts[{at}].sku"), Sku::new(part.sku))?;
        list.push(Part { sku, per_kit: part.quantity });
    }
    fields.take(format_args!("skus[{index}].kit_parts"), Kit::new(code, list))
}

pub(crate) fn sku(item: Item) -> pb::Sku {
    let unit = if item.unit == UNITS[1] { pb::Unit::WeighedPiece } else { pb::Unit::Piece };
    let parts = item.kit.iter().flat_map(Kit::parts);
    pb::Sku {
        kit_parts: parts.map(|p| pb::KitPart { sku: p.sku.to_string(), quantity: p.per_kit }).collect(),
        sku: item.sku.into_string(),
        name: item.name,
        unit: unit.into(),
        handling_class: item.handling_class,
        weight_g: item.weight_g,
        etag: item.version.to_string(),
        category: item.category,
        update_time: Some(timestamp(item.updated_at)),
    }
}
