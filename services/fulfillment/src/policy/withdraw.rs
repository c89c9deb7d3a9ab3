//! A version is taken back: it is in force no longer, and cannot be again.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::id::Uuid;
use domain::policy::in_force::Refusal as Untimely;
use domain::policy::{Activation, Version, continued};
use domain::time::Timestamp;
use policy::policies::{self, Stored};
use policy::{event, wire};
use service::wire::timestamp;
use service::{Call, Turn};

use super::change::{self, MOST_TIMES};
use super::command::Withdraw;
use super::refusal::Refusal;
use crate::Fulfillment;
use crate::error::Error;
use crate::store::policy as store;

impl Fulfillment {
    /// Ends all times in force of a version that are not over; those of its scope that lie under them go on.
    pub(crate) async fn withdraw_policy(
        &self,
        call: &Call,
        asked: &Withdraw,
    ) -> Result<pb::WithdrawPolicyResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.withdraw_once(call, asked)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn withdraw_once(
        &self,
        call: &Call,
        asked: &Withdraw,
    ) -> Result<pb::WithdrawPolicyResponse, Error> {
        let mut tx = match call.begin(&self.db, self.clock.business()).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        let now = self.lock_policies(&mut tx).await?;
        let (stored, version) = change::known(&mut tx, asked.id).await?;
        if let Some(until) = version.valid.until.filter(|until| *until <= now) {
            return Err(Refusal::Time(Untimely::Over { until }).into());
        }
        let why = (call.who.actor(), asked.reason.as_str());
        let left = end_all(&mut tx, &version, why, now).await?;
        let stored = take_back(&mut tx, stored, &version, why, now).await?;
        let others: BTreeSet<Uuid> = left.iter().map(|made| made.policy).collect();
        let others = policies::many(&mut tx, others).await?;
        change::restate(&mut tx, others, &left, call.who.actor(), now).await?;
        let reply = pb::WithdrawPolicyResponse { policy: Some(stored.policy) };
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}

/// Ends the activations of a version. Answers those of other versions of its scope that are not over.
async fn end_all(
    tx: &mut Tx,
    version: &Version,
    why: (&str, &str),
    now: Timestamp,
) -> Result<Vec<Activation>, Error> {
    let (kind, scope) = (version.kind(), &version.scope);
    let made = store::activations(tx, kind, scope, now).await?.left;
    let (own, left): (Vec<_>, Vec<_>) = made.into_iter().partition(|made| made.policy == version.id);
    for made in own {
        store::end(tx, (kind, scope), made.number, now, Some(why)).await?;
    }
    Ok(left)
}

/// Writes the version as withdrawn, and appends its event.
async fn take_back(
    tx: &mut Tx,
    stored: Stored,
    version: &Version,
    (actor, reason): (&str, &str),
    now: Timestamp,
) -> Result<Stored, Error> {
    let spans = continued(&version.in_force, &[], now);
    let policy = pb::Policy {
        in_force: wire::windows(&spans, MOST_TIMES),
        withdraw_time: Some(timestamp(now)),
        changed_by: actor.to_owned(),
        end_reason: reason.to_owned(),
        ..stored.policy
    };
    let stored = Stored { policy, sequence: stored.sequence + 1 };
    change::write(tx, &stored).await?;
    bus::outbox::append(tx, &[event::policy_changed(&stored, actor, now)?]).await?;
    Ok(stored)
}
