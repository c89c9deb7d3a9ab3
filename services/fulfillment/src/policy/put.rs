//! A new version is kept, and is not in force before it is activated.

use contract::fulfillment::v1 as pb;
use domain::policy::{Valid, in_force::LATENESS};
use domain::time::Timestamp;
use policy::policies::{self, MOST_OF_KIND, Stored};
use policy::{event, wire};
use service::wire::timestamp;
use service::{Call, Fields, Turn};

use super::command::Draft;
use super::refusal::Refusal;
use super::{ambiguity, change};
use crate::Fulfillment;
use crate::error::Error;
use crate::store::policy as store;

impl Fulfillment {
    /// Keeps a new version.
    pub(crate) async fn put_policy(
        &self,
        call: &Call,
        draft: &Draft,
    ) -> Result<pb::PutPolicyResponse, Error> {
        let reply = db::retry(3, Error::is_retry, || self.put_once(call, draft)).await?;
        self.learn_policies().await;
        Ok(reply)
    }

    async fn put_once(&self, call: &Call, draft: &Draft) -> Result<pb::PutPolicyResponse, Error> {
        let now = self.clock.business();
        let mut tx = match call.begin(&self.db, now).await? {
            Turn::New(tx) => tx,
            Turn::Answered(reply) => return Ok(reply),
        };
        let kind = draft.body.kind();
        must_be_ahead(draft.valid, now)?;
        let version = store::lock(&mut tx).await? + 1;
        if policies::count(&mut tx, kind, now).await? >= MOST_OF_KIND {
            return Err(Refusal::Full(kind).into());
        }
        let clear = ambiguity::must_be_clear(&mut tx, kind, &draft.scope, draft.valid, now).await;
        clear.map_err(|error| match error {
            Error::Policy(Refusal::GroupNotFound(_)) => {
                Error::field("policy.scope.node_group", "must be a group that exists; put the group first")
            }
            error => error,
        })?;
        let policy = pb::Policy {
            policy_id: wire::shown_id(self.clock.new_id()),
            version,
            scope: Some(wire::scope_of(&draft.scope)),
            from_time: draft.valid.from.map(timestamp),
            until_time: draft.valid.until.map(timestamp),
            reason: draft.reason.clone(),
            author: call.who.as_str().to_owned(),
            create_time: Some(timestamp(now)),
            body: Some(wire::body::shown_body(&draft.body)),
            ..pb::Policy::default()
        };
        let stored = Stored { policy, sequence: 1 };
        store::set_last(&mut tx, version).await?;
        change::write(&mut tx, &stored).await?;
        let event = event::policy_changed(&stored, call.who.actor(), now)?;
        bus::outbox::append(&mut tx, &[event]).await?;
        let reply = pb::PutPolicyResponse { policy: Some(stored.policy) };
        call.finish(tx, &reply).await?;
        Ok(reply)
    }
}

/// A version whose time is over could never be in force.
fn must_be_ahead(valid: Valid, now: Timestamp) -> Result<(), Error> {
    let mut fields = Fields::default();
    let latest = now.saturating_sub(LATENESS).unwrap_or(Timestamp::MIN);
    if valid.from.is_some_and(|from| from < latest) {
        let why = format_args!("must not be before now, {now}; leave it out to begin as early as possible");
        fields.refuse("policy.from_time", why);
    }
    if valid.until.is_some_and(|until| until <= now) {
        fields.refuse("policy.until_time", format_args!("must be later than now, {now}"));
    }
    Ok(fields.done()?)
}
