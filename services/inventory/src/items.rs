//! The master of SKUs: put them, and what makes a kit a kit.

use std::collections::{BTreeSet, HashMap};

use contract::inventory::v1 as pb;
use domain::id::{Sku, check_text};
use domain::name::check_name;
use domain::stock::kit::{Kit, Part};
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields, Turn, once};

use crate::Inventory;
use crate::error::Error;
use crate::store::skus::{self, Item, UNITS};
use crate::wire;

/// The most SKUs of one call.
const MAX_SKUS: usize = 500;
/// The longest name.
pub(crate) const MAX_NAME: usize = 200;
/// A piece weighs at most a hundred tons.
const MAX_WEIGHT_G: i64 = 100_000_000;

/// An item as it is to be, with the version that the caller has seen.
struct Draft {
    item: Item,
    etag: Option<i64>,
}

impl Inventory {
    pub(crate) async fn put_skus(
        &self,
        principal: &Principal,
        message: pb::PutSkusRequest,
    ) -> Result<pb::PutSkusResponse, Error> {
        let now = self.clock.business();
        let (request, drafts) = drafts(principal, message, now)?;
        let work = || self.put_once(&request, &drafts, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn put_once(
        &self,
        request: &Call,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<pb::PutSkusResponse, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let codes: BTreeSet<&Sku> = drafts.iter().map(|draft| &draft.item.sku).collect();
        let codes: Vec<Sku> = codes.into_iter().cloned().collect();
        let known = skus::read(&mut tx, &codes, true).await?;
        let parts: BTreeSet<&Sku> = drafts.iter().flat_map(|draft| parts(&draft.item)).collect();
        let kinds = skus::kinds(&mut tx, parts).await?;
        let items = decide(drafts, &known, &kinds)?;
        let mut sorted: Vec<&Item> = items.iter().collect();
        sorted.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        // parts before the kits that name them
        let (kits, plain): (Vec<&Item>, Vec<&Item>) = sorted.into_iter().partition(|item| item.kit.is_some());
        skus::put(&mut tx, &plain).await?;
        skus::put(&mut tx, &kits).await?;
        let answer = pb::PutSkusResponse { skus: items.into_iter().map(wire::sku).collect() };
        request.finish(tx, &answer).await?;
        Ok(answer)
    }
}

fn parts(item: &Item) -> impl Iterator<Item = &Sku> {
    item.kit.iter().flat_map(Kit::parts).map(|part| &part.sku)
}

/// Sees each draft against what is stored and what comes with it.
fn decide(
    drafts: &[Draft],
    known: &HashMap<Sku, Item>,
    kinds: &HashMap<Sku, bool>,
) -> Result<Vec<Item>, Error> {
    let coming: HashMap<&Sku, bool> = drafts.iter().map(|d| (&d.item.sku, d.item.kit.is_some())).collect();
    let mut fields = Fields::default();
    let mut items = Vec::with_capacity(drafts.len());
    for (index, Draft { item, etag }) in drafts.iter().enumerate() {
        let stored = known.get(&item.sku);
        let version = stored.map_or(0, |stored| stored.version);
        if etag.is_some_and(|seen| seen != version) {
            return Err(Error::SkuChanged(item.sku.clone()));
        }
        let is_fixed = stored.is_some_and(|stored| stored.kit.is_some() != item.kit.is_some());
        fields.check(
            !is_fixed,
            format_args!("skus[{index}].kit_parts"),
            "a kit stays a kit, an item an item",
        );
        for (at, part) in parts(item).enumerate() {
            let field = format_args!("skus[{index}].kit_parts[{at}].sku");
            match kinds.get(part).or_else(|| coming.get(part)) {
                None => fields.refuse(field, format!("sku {part} does not exist")),
                Some(true) => fields.refuse(field, format!("{part} is a kit itself")),
                Some(false) => {}
            }
        }
        items.push(Item { version: version + 1, ..item.clone() });
    }
    fields.done()?;
    Ok(items)
}

fn drafts(
    principal: &Principal,
    message: pb::PutSkusRequest,
    now: Timestamp,
) -> Result<(Call, Vec<Draft>), Error> {
    let mut fields = Fields::default();
    let request = wire::request(&mut fields, principal, "put_skus", &message.request_id, &message);
    fields.count("skus", message.skus.len(), MAX_SKUS);
    let mut drafts: Vec<Draft> = Vec::with_capacity(message.skus.len().min(MAX_SKUS));
    let mut seen = BTreeSet::new();
    for (index, sku) in message.skus.into_iter().take(MAX_SKUS).enumerate() {
        if let Some(draft) = draft(&mut fields, index, sku, now) {
            let is_new = seen.insert(draft.item.sku.clone());
            fields.check(is_new, format_args!("skus[{index}].sku"), "is there twice");
            drafts.push(draft);
        }
    }
    fields.done()?;
    Ok((request.ok_or_else(|| Error::field("request_id", "is required"))?, drafts))
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
