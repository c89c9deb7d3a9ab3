//! The end of a full snapshot: what it did not name is not there any more.
//!
//! Which positions a snapshot has named is seen from their marks: it has set them to its source time. So a full
//! snapshot may come in any number of calls, and closing it twice changes nothing.

use contract::inventory::v1 as pb;
use domain::id::{NodeId, check_text};
use domain::stock::movement::Kind;
use jiff::Timestamp;
use server::Principal;
use service::{Call, Fields, Turn, once};

use crate::Inventory;
use crate::error::Error;
use crate::goods::{self, Change};
use crate::ledger::Slot;
use crate::rights::own_node;
use crate::row::{Feed, MAX_REFERENCE, MAX_SOURCE};
use crate::store::positions::{self, Vanishing};
use crate::wire;

/// Positions that one call sets to 0.
const CHUNK: usize = 500;

/// A snapshot to be closed.
struct Close {
    node: NodeId,
    at: Timestamp,
    reference: String,
    force: bool,
}

impl Inventory {
    pub(crate) async fn close_snapshot(
        &self,
        principal: &Principal,
        message: pb::CloseSnapshotRequest,
    ) -> Result<pb::CloseSnapshotResponse, Error> {
        let now = self.clock.business();
        let (request, close) = self.read_close(principal, message, now)?;
        let work = || self.close_once(principal, &request, &close, now);
        db::retry(once::ATTEMPTS, Error::is_retry, work).await
    }

    async fn close_once(
        &self,
        principal: &Principal,
        request: &Call,
        close: &Close,
        now: Timestamp,
    ) -> Result<pb::CloseSnapshotResponse, Error> {
        let mut tx = match request.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(answer) => return Ok(answer),
        };
        let vanishing = positions::vanishing(&mut tx, &close.node, close.at).await?;
        self.guard(close, &vanishing)?;
        let limit = i64::try_from(CHUNK).unwrap_or(1);
        let absent = positions::absent(&mut tx, &close.node, close.at, limit).await?;
        let changes: Vec<Change> = absent.iter().map(|slot| close.change(slot)).collect();
        let (_, slots) = goods::apply(&mut tx, &changes, &principal.as_str().into(), now).await?;
        let cleared = absent.iter().zip(&slots).map(|(before, after)| pb::ClearedPosition {
            sku: after.key.sku.to_string(),
            on_hand_before: before.position.on_hand,
            on_hand: after.position.on_hand,
        });
        let answer = pb::CloseSnapshotResponse { cleared: cleared.collect(), more: absent.len() == CHUNK };
        request.finish(tx, &answer).await?;
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

    fn read_close(
        &self,
        principal: &Principal,
        message: pb::CloseSnapshotRequest,
        now: Timestamp,
    ) -> Result<(Call, Close), Error> {
        let mut fields = Fields::default();
        let request = wire::request(&mut fields, principal, "close", &message.request_id, &message);
        fields.take("source", check_text(&message.source, MAX_SOURCE));
        fields.take("reference", check_text(&message.reference, MAX_REFERENCE));
        let node = fields.take("node_id", NodeId::new(message.node_id));
        let feed = Feed { who: principal, source: &message.source, now, tolerance: self.clock_tolerance };
        let at = feed.source_time(message.source_time.as_ref());
        let at = at.map_err(|fault| fault.refuse(&mut fields)).unwrap_or(now);
        fields.done()?;
        let (Some(request), Some(node)) = (request, node) else {
            return Err(Error::field("request_id", "is required"));
        };
        own_node(principal, &node)?;
        let reference = format!("{}:{}", message.source, message.reference);
        Ok((request, Close { node, at, reference, force: message.force }))
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
