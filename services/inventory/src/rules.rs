//! What policies say about positions, put into positions that were read.
//!
//! It is decided from the book in memory each time that a position is read, so it holds from the first moment. Where no policy
//! speaks about stock, this asks nobody.

use std::collections::{BTreeSet, HashMap};

use db::Tx;
use domain::id::Sku;
use domain::policy::scope::Dimension;
use domain::policy::{Asked, Book, Kind};
use jiff::Timestamp;

use crate::error::Error;
use crate::store::positions::Slot;
use crate::{pools, store};

/// The kinds of policies that positions follow.
pub(crate) const KINDS: [Kind; 2] = [Kind::SafetyStock, Kind::Pools];

/// Puts what policies say at `now` into positions. What single channels have claimed is as it was last announced.
pub(crate) async fn apply(tx: &mut Tx, book: &Book, slots: &mut [Slot], now: Timestamp) -> Result<(), Error> {
    pools::load(tx, slots).await?;
    let named = KINDS.into_iter().filter_map(|kind| book.names(kind)).reduce(|all, named| all | named);
    let Some(named) = named else { return Ok(()) };
    let categories = if named & Dimension::Category.bit() == 0 {
        HashMap::new()
    } else {
        // read under the locks of the positions: who changes a category has them announced after that
        let skus: BTreeSet<&Sku> = slots.iter().map(|slot| &slot.key.sku).collect();
        store::skus::categories(tx, skus).await?
    };
    for slot in slots {
        let category = categories.get(&slot.key.sku).map(String::as_str);
        let (sku, node) = (Some(&slot.key.sku), Some(&slot.key.node));
        let asked = Asked { sku, category, node, ..Asked::default() };
        let said = book.safety_stock(&asked, now);
        slot.position.safety.units = said.units.map_or(0, |units| units.value);
        slot.position.safety.percent = said.percent.map_or(0, |percent| i64::from(percent.value));
        let kept = book.pools(&asked, now).into_iter();
        slot.kept = kept.map(|pool| (pool.channel.into(), pool.units)).collect();
    }
    Ok(())
}
