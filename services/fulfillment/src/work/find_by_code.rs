//! What a pickup code opens, looked up under a throttle.
//!
//! A look-up only reads. A caller that missed too often waits; at a node with too many misses every look-up takes a
//! little longer, so that guessing under many names stays slow and no shop is ever locked.

use std::time::Duration;

use contract::fulfillment::v1 as pb;
use server::Principal;

use super::command::FindByCode;
use super::misses::{Admitted, Scopes};
use crate::store::{code as store, work};
use crate::wire::work as wire;
use crate::{Error, Fulfillment};
use service::{Outage, speaks_for};

/// How much longer a look-up takes at a node that was missed at too often.
const SLOWLY: Duration = Duration::from_millis(500);

/// A line a second, however many codes are missed.
static MISSED: Outage = Outage::new();

impl Fulfillment {
    /// What a code opens.
    pub(crate) async fn find_by_code(
        &self,
        who: &Principal,
        command: &FindByCode,
    ) -> Result<pb::FulfillmentOrder, Error> {
        if !speaks_for(who, &command.node) {
            return Err(Error::CodeNotFound);
        }
        let now = self.clock.business();
        let scopes = Scopes::of(who, &command.node);
        let mut tx = self.db.read().await?;
        let saved = store::misses(&mut tx, &[&scopes.caller, &scopes.node]).await?;
        drop(tx);
        match self.work.misses.admit(&scopes, &saved, now) {
            Ok(Admitted::AtOnce) => {}
            Ok(Admitted::Slowly) => self.clock.pause(SLOWLY).await,
            Err(until) => {
                count("refused");
                return Err(Error::Throttled { until, now });
            }
        }
        let digest = self.work.key.digest(&command.node, &command.code);
        let mut tx = self.db.snapshot().await?;
        let found = match store::find(&mut tx, &command.node, &digest).await? {
            Some(id) => work::load(&mut tx, id).await?,
            None => None,
        };
        if let Some(found) = found {
            count("found");
            return Ok(wire::fulfillment_order(&found));
        }
        // It was a valid code once, so it is not a guess.
        if store::find_void(&mut tx, &command.node, &digest).await?.is_some() {
            count("void");
            return Err(Error::CodeVoid);
        }
        drop(tx);
        self.work.misses.missed(&scopes, now);
        count("missed");
        if let Some(misses) = MISSED.refused(self.clock.wall()) {
            tracing::warn!(node_id = %command.node, actor = who.actor(), misses,
                "a pickup code that opens nothing was looked up");
        }
        Err(Error::CodeNotFound)
    }
}

fn count(result: &'static str) {
    metrics::counter!("entrepot_fulfillment_code_lookups_total", "result" => result).increment(1);
}
