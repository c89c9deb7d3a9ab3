//! The end of a full snapshot: what it did not name is not there any more.
//!
//! Which positions a snapshot has named is seen from their marks: it has set them to its source time. So a full
//! snapshot may come in any number of calls, and closing it twice changes nothing.

use contract::inventory::v1 as pb;
use domain::stock::movement::Kind;
use jiff::Timestamp;
use server::Principal;
use service::{Call, Turn, once};

use crate::Inventory;
use crate::change;
use crate::command::{Change, Close};
use crate::error::Error;
use crate::store::positions::{self, Slot, Vanishing};

/// Positions that one call sets to 0.
const CHUNK: usize = 500;

impl Inventory {
    pub(crate) async fn close_snapshot(
        &self,
        who: &Principal,
        (call, close): (Call, Close),
    ) -> Result<pb::CloseSnapshotResponse, Error> {
        let now = self.clock.business();
        let work = || self.close_once(who, &call, &close, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn close_once(
        &self,
        who: &Principal,
        call: &Call,
        close: &Close,
        now: Timestamp,
    ) -> Result<pb::CloseSnapshotResponse, Error> {
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let vanishing = positions::vanishing(&mut tx, &close.node, close.at).await?;
        self.guard(close, &vanishing)?;
        let limit = i64::try_from(CHUNK).unwrap_or(1);
        let absent = positions::absent(&mut tx, &close.node, close.at, limit).await?;
        let changes: Vec<Change> = absent.iter().map(|slot| close.change(slot)).collect();
        let (_, slots) =
            change::apply(&mut tx, &changes, &who.actor().into(), &self.policies.book(), now).await?;
        let cleared = absent.iter().zip(&slots).map(|(before, after)| pb::ClearedPosition {
            sku: after.key.sku.to_string(),
            on_hand_before: before.position.on_hand,
            on_hand: after.position.on_hand,
        });
        let answer = pb::CloseSnapshotResponse { cleared: cleared.collect(), more: absent.len() == CHUNK };
        call.finish(tx, &answer).await?;
        Ok(answer)
    }

    /// A broken file looks like a full one: much that vanishes at once is not believed unless it is forced.
    fn guard(&self, close: &Close, vanishing: &Vanishing) -> Result<(), Error> {
        if vanishing.named == 0 {
            return Err(Error::NoSuchSnapshot { node: close.node.clone(), at: close.at });
        }
        let share = vanishing.percent();
        if close.force || share <= self.max_vanishing_percent {
            return Ok(());
        }
        Err(Error::TooMuchVanishes {
            node: close.node.clone(),
            positions: vanishing.positions,
            units: vanishing.units,
            percent: share,
            limit: self.max_vanishing_percent,
        })
    }
}

impl Close {
    fn change(&self, slot: &Slot) -> Change {
        Change {
            key: slot.key.clone(),
            kind: Kind::Snapshot,
            quantity: 0,
            reason: "absent from a full snapshot".to_owned(),
            reference: self.reference.clone(),
            at: self.at,
            feed: None,
        }
    }
}
