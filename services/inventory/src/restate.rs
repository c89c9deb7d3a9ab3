//! Restate: positions are announced again where policies say something else about them than when they were announced last.
//!
//! What a claim is granted follows policies at once; those who follow positions by their events hear of it here. A walk reads
//! the positions that a change is about, some at a time, and announces those that differ: so it may stop and begin again
//! anywhere. Goods and claims stay as they are, so the ledger has no row of it.
//!
//! A while after a change its positions are looked at once more: another process may have written some of them before it had
//! heard of the change.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use domain::id::Sku;
use domain::policy::Book;
use domain::stock::Key;
use domain::time;
use jiff::Timestamp;
use service::once;

use crate::Inventory;
use crate::batch::Batch;
use crate::error::Error;
use crate::in_force::{Extent, InForce, Memory, Piece};
use crate::ledger::Ledger;
use crate::rules;
use crate::store::positions::{self, Slot};
use crate::store::restate::{self, Announced};

/// Positions that are read, and at most written, at a time.
const CHUNK: usize = 500;
/// Chunks of one call: the rest waits for the next one.
const CHUNKS: usize = 40;
/// SKUs of one call whose category changed.
const SKUS: i64 = 50;
/// When the positions of a change are looked at once more: every process has heard of it by then.
const AGAIN_MS: i64 = 5_000;

/// Who announces.
const ACTOR: &str = "service/inventory";

/// What is in force, and how far the positions are announced by it.
#[derive(Default)]
pub(crate) struct Restating {
    in_force: Memory,
    walk: tokio::sync::Mutex<Option<Walk>>,
}

/// A walk over the positions of a change.
struct Walk {
    /// What it announces, and what it began from.
    to: String,
    from: Announced,
    pieces: VecDeque<Option<Piece>>,
    /// The last position of the first piece that was read.
    after: (String, String),
}

impl Walk {
    fn new(to: &InForce, from: Announced, book: &Book) -> Self {
        // the first time from what was announced; then once more, from what was announced before
        let text = to.text().to_owned();
        let earlier =
            if from.versions == text { from.earlier.as_deref() } else { Some(from.versions.as_str()) };
        let extent = earlier.map_or(Extent::Everything, |text| to.differs_from(&InForce::parse(text), book));
        let pieces = match extent {
            Extent::Everything => VecDeque::from([None]),
            Extent::Some(pieces) => pieces.into_iter().map(Some).collect(),
        };
        Self { to: text, from, pieces, after: Default::default() }
    }

    /// What is announced once it is over.
    fn announced(&self, now: Timestamp) -> Announced {
        let is_second = self.from.versions == self.to;
        Announced {
            versions: self.to.clone(),
            // changes that came faster than they were looked at again are looked at together
            earlier: self.from.again_at.is_none().then(|| self.from.versions.clone()),
            again_at: (!is_second).then(|| time::after_ms(now, AGAIN_MS)),
        }
    }
}

impl Inventory {
    /// Announces what is to be announced again, up to a limit; answers how much was done.
    pub(crate) async fn restate_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut done = self.restate_skus(now).await?;
        let mut held = self.restating.walk.lock().await;
        for _ in 0..CHUNKS {
            let book = self.policies.book();
            let (in_force, _) = self.restating.in_force.of(&book, now);
            let announced = restate::announced(&mut self.db.read().await?).await?;
            if !is_due(&announced, &in_force, now) {
                *held = None;
                break;
            }
            let is_same = |walk: &Walk| walk.from == announced && walk.to == in_force.text();
            let walk = match held.take() {
                Some(walk) if is_same(&walk) => walk,
                _ => Walk::new(&in_force, announced, &book),
            };
            *held = self.walk_on(walk, &book, now).await?;
            done += 1;
        }
        Ok(done)
    }

    /// When there is something to announce again.
    pub(crate) async fn restate_next(&self, now: Timestamp) -> Result<Option<Timestamp>, Error> {
        let (in_force, change) = self.restating.in_force.of(&self.policies.book(), now);
        let mut tx = self.db.read().await?;
        let announced = restate::announced(&mut tx).await?;
        let skus = restate::since(&mut tx).await?;
        let walk = if is_due(&announced, &in_force, now) { Some(now) } else { announced.again_at };
        Ok([change, skus, walk].into_iter().flatten().min())
    }

    /// The next positions of a walk; none: it is over.
    async fn walk_on(&self, mut walk: Walk, book: &Book, now: Timestamp) -> Result<Option<Walk>, Error> {
        if let Some(piece) = walk.pieces.front() {
            let last = self.announce_some(piece.as_ref(), &walk.after, book, now).await?;
            if last.is_none() {
                walk.pieces.pop_front();
            }
            walk.after = last.unwrap_or_default();
        }
        if !walk.pieces.is_empty() {
            return Ok(Some(walk));
        }
        let announced = walk.announced(now);
        let note = || async {
            let mut tx = self.db.begin().await?;
            restate::put(&mut tx, &announced).await?;
            Ok(tx.commit().await?)
        };
        db::retry(once::ATTEMPTS, Error::is_retry, note).await?;
        Ok(None)
    }

    /// Announces the positions of SKUs whose category changed.
    async fn restate_skus(&self, now: Timestamp) -> Result<usize, Error> {
        let changed = restate::skus(&mut self.db.read().await?, now, SKUS).await?;
        let book = self.policies.book();
        for (sku, version) in &changed {
            let piece = Piece::Sku(sku.clone());
            let mut after = Some(Default::default());
            while let Some(last) = after {
                after = self.announce_some(Some(&piece), &last, &book, now).await?;
            }
            db::retry(once::ATTEMPTS, Error::is_retry, || self.forget(sku, *version)).await?;
        }
        Ok(changed.len())
    }

    async fn forget(&self, sku: &Sku, version: i64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        restate::done(&mut tx, sku, version).await?;
        Ok(tx.commit().await?)
    }

    /// Reads positions after the last one, of a piece or of all, and announces those that differ. Answers the last one that was
    /// read; none: there are no more.
    async fn announce_some(
        &self,
        piece: Option<&Piece>,
        after: &(String, String),
        book: &Book,
        now: Timestamp,
    ) -> Result<Option<(String, String)>, Error> {
        let limit = i64::try_from(CHUNK).unwrap_or(1);
        let mut tx = self.db.read().await?;
        let mut slots = match piece {
            None => positions::after(&mut tx, (&after.0, &after.1), limit).await?,
            Some(Piece::Node(node)) => positions::of_node(&mut tx, node, &after.1, limit).await?,
            Some(Piece::Sku(sku)) => positions::of_sku(&mut tx, sku, &after.0, limit).await?,
        };
        rules::apply(&mut tx, book, &mut slots, now).await?;
        drop(tx);
        let mut stale: Vec<Key> =
            slots.iter().filter(|slot| slot.is_stale()).map(|slot| slot.key.clone()).collect();
        stale.sort_unstable();
        if !stale.is_empty() {
            db::retry(once::ATTEMPTS, Error::is_retry, || self.announce(&stale, book, now)).await?;
        }
        let last = slots.last().filter(|_| slots.len() == CHUNK);
        Ok(last.map(|Slot { key, .. }| (key.node.to_string(), key.sku.to_string())))
    }

    async fn announce(&self, keys: &[Key], book: &Book, now: Timestamp) -> Result<(), Error> {
        let actor: Arc<str> = ACTOR.into();
        let mut tx = self.db.begin().await?;
        let mut ledger = Ledger::lock(&mut tx, keys, book, now).await?;
        let stale: Vec<usize> = keys
            .iter()
            .filter_map(|key| ledger.place(key))
            .filter(|place| ledger.slot(*place).is_stale())
            .collect();
        for place in &stale {
            ledger.restate(*place, &actor);
        }
        Batch::new(now, ledger, HashMap::new()).write_answers(&mut tx, Vec::new()).await?;
        tx.commit().await?;
        metrics::counter!("entrepot_inventory_positions_restated_total").increment(stale.len() as u64);
        Ok(())
    }
}

/// Other versions are in force than the positions were announced by, or it is time to look at them once more.
fn is_due(announced: &Announced, in_force: &InForce, now: Timestamp) -> bool {
    announced.versions != in_force.text() || announced.again_at.is_some_and(|at| at <= now)
}
