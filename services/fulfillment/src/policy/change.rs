//! Versions of one scope whose times in force change together.

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::Uuid;
use domain::policy::{Activation, Span, Version, continued, in_force};
use domain::time::Timestamp;
use policy::policies::{self, Stored};
use policy::{event, wire};

use super::refusal::Refusal;
use crate::error::Error;

/// The most times in force that a version shows, and may have ahead of it.
pub(super) const MOST_TIMES: usize = 20;

/// A version that exists, as stored and as the rules know it.
pub(super) async fn known(tx: &mut Tx, id: Uuid) -> Result<(Stored, Version), Error> {
    let stored = policies::get(tx, id).await?;
    let stored = stored.ok_or_else(|| Refusal::NotFound(wire::shown_id(id)))?;
    let version = stored.version()?;
    Ok((stored, version))
}

/// Writes those versions of a scope whose times in force are others with the activations `made` (those that are not over),
/// and appends their events. Answers all of `versions` as they are now.
pub(super) async fn restate(
    tx: &mut Tx,
    versions: Vec<Stored>,
    made: &[Activation],
    actor: &str,
    now: Timestamp,
) -> Result<Vec<Stored>, Error> {
    let ahead = in_force(made);
    let (mut states, mut events) = (Vec::with_capacity(versions.len()), Vec::new());
    for stored in versions {
        let version = stored.version()?;
        let after = ahead.get(&version.id).map_or(&[] as &[Span], Vec::as_slice);
        let spans = continued(&version.in_force, after, now);
        if spans == version.in_force {
            states.push(stored);
            continue;
        }
        let left = spans.iter().filter(|span| span.until.is_none_or(|until| now < until)).count();
        if left > MOST_TIMES {
            return Err(Refusal::TooManyTimes { version: version.version, most: MOST_TIMES }.into());
        }
        let policy = pb::Policy { in_force: wire::windows(&spans, MOST_TIMES), ..stored.policy };
        let stored = Stored { policy, sequence: stored.sequence + 1 };
        write(tx, &stored).await?;
        events.push(event::policy_changed(&stored, actor, now)?);
        states.push(stored);
    }
    bus::outbox::append(tx, &events).await?;
    Ok(states)
}

/// Notes who changed the times of a version, and why they end. The times themselves are stated after it.
pub(super) fn note(versions: &mut [Stored], id: Uuid, actor: &str, end_reason: &str) {
    let shown = wire::shown_id(id);
    for stored in versions.iter_mut().filter(|stored| stored.policy.policy_id == shown) {
        actor.clone_into(&mut stored.policy.changed_by);
        end_reason.clone_into(&mut stored.policy.end_reason);
    }
}

/// Writes a version; its owner holds the lock, so nobody else has.
pub(super) async fn write(tx: &mut Tx, stored: &Stored) -> Result<(), Error> {
    if policies::put(tx, stored).await? {
        Ok(())
    } else {
        Err(Error::corrupt(format!("the sequence of policy {}", stored.policy.policy_id)))
    }
}

/// A version among those of its scope.
pub(super) fn of(states: &[Stored], id: Uuid) -> Option<pb::Policy> {
    let shown = wire::shown_id(id);
    states.iter().find(|stored| stored.policy.policy_id == shown).map(|stored| stored.policy.clone())
}
