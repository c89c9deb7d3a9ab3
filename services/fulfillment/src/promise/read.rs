//! Reads of promise tokens and of the decisions kept with them.

use contract::fulfillment::v1 as pb;
use domain::id::{FulfillmentId, OrderId, PromiseToken};

use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::promise::Stored;
use crate::wire::fitting;
use crate::wire::promise as wire;

/// The most decisions of one answer.
const MOST_DECISIONS: usize = 200;

impl Fulfillment {
    /// A promise as stored.
    pub(crate) async fn stored(&self, token: PromiseToken) -> Result<Stored, Error> {
        let mut tx = self.db.read().await?;
        let stored = store::promise::get(&mut tx, token).await?;
        tx.commit().await?;
        stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))
    }

    /// The decision of a leg.
    pub(crate) async fn decision(
        &self,
        leg: FulfillmentId,
        text: &str,
    ) -> Result<pb::SourcingDecision, Error> {
        let mut tx = self.db.read().await?;
        let stored = match store::promise_leg::token_of(&mut tx, leg).await? {
            Some(token) => store::promise::get(&mut tx, token).await?,
            None => None,
        };
        tx.commit().await?;
        let decisions = stored.iter().flat_map(|stored| stored.legs.iter().map(move |of| (stored, of)));
        let found = decisions.into_iter().find(|(_, of)| of.id == leg);
        let (stored, leg) = found.ok_or_else(|| Error::DecisionNotFound(text.to_owned()))?;
        Ok(wire::stored_decision(stored, leg))
    }

    /// The decisions of the legs of an order, newest first.
    pub(crate) async fn decisions(&self, order: OrderId) -> Result<Vec<pb::SourcingDecision>, Error> {
        let mut tx = self.db.read().await?;
        let limit = i64::try_from(MOST_DECISIONS).unwrap_or(i64::MAX);
        let promises = store::promise::of_order(&mut tx, order, limit).await?;
        tx.commit().await?;
        let all = promises.iter().flat_map(|stored| stored.legs.iter().map(move |leg| (stored, leg)));
        let shown = all.take(MOST_DECISIONS).map(|(stored, leg)| wire::stored_decision(stored, leg));
        Ok(fitting(shown))
    }
}
