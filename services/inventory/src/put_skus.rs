//! The master of SKUs: put them, and what makes a kit a kit.

use std::collections::{BTreeSet, HashMap};

use contract::inventory::v1 as pb;
use domain::id::Sku;
use domain::stock::kit::Kit;
use jiff::Timestamp;
use service::{Call, Fields, Turn, once};

use crate::Inventory;
use crate::command::Draft;
use crate::error::Error;
use crate::store::restate;
use crate::store::skus::{self, Item};
use crate::wire;

impl Inventory {
    pub(crate) async fn put_skus(
        &self,
        (call, drafts): (Call, Vec<Draft>),
    ) -> Result<pb::PutSkusResponse, Error> {
        let now = self.clock.business();
        let work = || self.put_once(&call, &drafts, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn put_once(
        &self,
        call: &Call,
        drafts: &[Draft],
        now: Timestamp,
    ) -> Result<pb::PutSkusResponse, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
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
        let is_moved =
            |item: &&&Item| known.get(&item.sku).is_some_and(|before| before.category != item.category);
        let moved: Vec<(&Sku, i64)> =
            plain.iter().filter(is_moved).map(|item| (&item.sku, item.version)).collect();
        restate::put_skus(&mut tx, &moved, now).await?;
        let answer = pb::PutSkusResponse { skus: items.into_iter().map(wire::sku).collect() };
        call.finish(tx, &answer).await?;
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
