//! A version is put in force for a time.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use domain::id::Uuid;
use domain::policy::in_force::Refusal as Untimely;
use domain::policy::{self as rules, Activation, Span, Valid};
use policy::policies::{self, MOST_OF_KIND};
use service::{Call, Turn};

use super::command::Activate;
use super::refusal::Refusal;
use super::{ambiguity, change};
use crate::Fulfillment;
use crate::error::Error;
use crate::store::policy as store;

/// How many roll backs in a row find what was in force before: what lies deeper makes room.
pub(super) const DEPTH: usize = 50;

impl Fulfillment {
    /// Puts a version in force; others of its kind and scope are not, meanwhile.
    pub(crate) async fn activate_policy(
        &self,
        call: &Call,
        asked: &Activate,
    ) -> Result<pb::ActivatePolicyResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.activate_once(call, asked)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn activate_once(
        &self,
        call: &Call,
        asked: &Activate,
    ) -> Result<pb::ActivatePolicyResponse, Error> {
        let mut tx = match call.begin(&self.db, self.clock.business()).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        let now = self.lock_policies(&mut tx).await?;
        let (_, version) = change::known(&mut tx, asked.id).await?;
        let (kind, scope) = (version.kind(), &version.scope);
        let mut made = store::activations(&mut tx, kind, scope, now).await?;
        for number in rules::buried(&made.left, DEPTH, now) {
            store::end(&mut tx, (kind, scope), number, now, None).await?;
            made.left.retain(|made| made.number != number);
        }
        let new = rules::activate(&version, &made.left, asked.from, asked.until, now).map_err(untimely)?;
        let new = Activation { number: made.last_number + 1, ..new };
        // One that is over, and so counted no more, comes back.
        let counts = policies::over_at(&version).is_none_or(|over| now < over);
        if !counts && policies::count(&mut tx, kind, now).await? >= MOST_OF_KIND {
            return Err(Refusal::Full(kind).into());
        }
        let Span { from, until } = new.span;
        ambiguity::must_be_clear(&mut tx, kind, scope, Valid { from: Some(from), until }, now).await?;
        store::activate(&mut tx, (kind, scope), &new, call.who.actor(), now).await?;
        made.left.push(new);
        let ids: BTreeSet<Uuid> = made.left.iter().map(|made| made.policy).collect();
        let mut versions = policies::many(&mut tx, ids).await?;
        change::note(&mut versions, version.id, call.who.actor(), "");
        let states = change::restate(&mut tx, versions, &made.left, call.who.actor(), now).await?;
        let reply = pb::ActivatePolicyResponse { policy: change::of(&states, version.id) };
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}

/// A refusal that a field of the request causes names the field.
fn untimely(refusal: Untimely) -> Error {
    match refusal.field() {
        Some(field) => Error::field(field, refusal.to_string()),
        None => Refusal::Time(refusal).into(),
    }
}
