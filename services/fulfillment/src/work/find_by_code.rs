//! What a pickup code opens, looked up under a throttle.

use contract::fulfillment::v1 as pb;
use db::Tx;
use domain::fulfillment::code::Throttle;
use domain::id::NodeId;
use jiff::{SignedDuration, Timestamp};
use server::Principal;

use super::command::FindByCode;
use super::rights::may_work;
use crate::store::{code as store, work};
use crate::wire::work as wire;
use crate::{Error, Fulfillment};

impl Fulfillment {
    /// What a code opens. Misses are counted per caller and per node, and commit although the call is refused.
    pub(crate) async fn find_by_code(
        &self,
        who: &Principal,
        command: &FindByCode,
    ) -> Result<pb::FulfillmentOrder, Error> {
        db::retry(3, Error::is_retry, || self.try_find(who, command)).await
    }

    async fn try_find(&self, who: &Principal, command: &FindByCode) -> Result<pb::FulfillmentOrder, Error> {
        if !may_work(who, &command.node) {
            return Err(Error::CodeNotFound);
        }
        let now = self.clock.business();
        let mut tx = self.db.begin().await?;
        let guard = self.guard(&mut tx, who, &command.node, now).await?;
        let digest = self.work.key.digest(&command.node, &command.code);
        let found = match store::find(&mut tx, &command.node, &digest).await? {
            Some(id) => work::load(&mut tx, id).await?,
            None => None,
        };
        let Some(found) = found else {
            // Nobody guessed it, so it is no miss.
            if store::find_void(&mut tx, &command.node, &digest).await?.is_some() {
                return Err(Error::CodeVoid);
            }
            guard.missed(&mut tx, now).await?;
            tx.commit().await?;
            return Err(Error::CodeNotFound);
        };
        Ok(wire::fulfillment_order(&found))
    }

    /// Lets a caller look a code up at a node, or tells when it may.
    async fn guard(
        &self,
        tx: &mut Tx,
        who: &Principal,
        node: &NodeId,
        now: Timestamp,
    ) -> Result<Guard, Error> {
        let config = &self.work.config;
        let window = SignedDuration::from_secs(config.miss_window_s);
        let mut guard = Guard { counted: Vec::with_capacity(2) };
        // The same order everywhere, so that two callers never wait for each other.
        let scopes = [
            (format!("caller:{}@{node}", who.as_str()), config.caller_misses),
            (format!("node:{node}"), config.node_misses),
        ];
        for (scope, allowed) in scopes {
            let throttle = Throttle { allowed, window };
            let misses = store::lock_misses(tx, &scope, now).await?;
            throttle.admit(misses, now).map_err(|until| Error::Throttled { until, now })?;
            guard.counted.push((scope, throttle, misses));
        }
        Ok(guard)
    }
}

/// The right to look one code up.
struct Guard {
    counted: Vec<(String, Throttle, domain::fulfillment::code::Misses)>,
}

impl Guard {
    /// The code was wrong.
    async fn missed(&self, tx: &mut Tx, now: Timestamp) -> Result<(), Error> {
        for (scope, throttle, misses) in &self.counted {
            store::save_misses(tx, scope, throttle.missed(*misses, now)).await?;
        }
        Ok(())
    }
}
