//! The version that is in force for a scope ends, and the one before it is in force again.

use std::collections::BTreeSet;

use contract::fulfillment::v1 as pb;
use domain::id::Uuid;
use domain::policy as rules;
use policy::policies;
use service::{Call, Turn};

use super::change;
use super::command::RollBack;
use super::refusal::Refusal;
use crate::Fulfillment;
use crate::error::Error;
use crate::store::policy as store;

impl Fulfillment {
    /// Ends what is in force for a kind and scope now.
    pub(crate) async fn roll_back_policy(
        &self,
        call: &Call,
        asked: &RollBack,
    ) -> Result<pb::RollBackPolicyResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.roll_back_once(call, asked)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn roll_back_once(
        &self,
        call: &Call,
        asked: &RollBack,
    ) -> Result<pb::RollBackPolicyResponse, Error> {
        let mut tx = match call.begin(&self.db, self.clock.business()).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        let RollBack { kind, scope, reason } = asked;
        let now = self.lock_policies(&mut tx).await?;
        let mut made = store::activations(&mut tx, *kind, scope, now).await?.left;
        let back = rules::roll_back(&made, now).map_err(Refusal::Time)?;
        let ids: BTreeSet<Uuid> = made.iter().map(|made| made.policy).collect();
        let number = back.ended.number;
        let why = Some((call.who.actor(), reason.as_str()));
        store::end(&mut tx, (*kind, scope), number, now, why).await?;
        made.retain(|made| made.number != number);
        let mut versions = policies::many(&mut tx, ids).await?;
        change::note(&mut versions, back.ended.policy, call.who.actor(), reason);
        let states = change::restate(&mut tx, versions, &made, call.who.actor(), now).await?;
        let reply = pb::RollBackPolicyResponse {
            ended: change::of(&states, back.ended.policy),
            in_force: back.in_force.and_then(|id| change::of(&states, id)),
        };
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}
