//! Reads of promise tokens and of the decisions kept with them.

use contract::fulfillment::v1 as pb;
use domain::id::{OrderId, PromiseToken};

use crate::Fulfillment;
use crate::error::Error;
use crate::store;
use crate::store::promise::Stored;
use crate::wire::promise as wire;

impl Fulfillment {
    /// A promise as stored.
    pub(crate) async fn stored(&self, token: PromiseToken) -> Result<Stored, Error> {
        let mut tx = self.db.read().await?;
        let stored = store::promise::get(&mut tx, token).await?;
        tx.commit().await?;
        stored.ok_or_else(|| Error::PromiseNotFound(token.to_string()))
    }

    /// The decision of a promise, or of the newest promise of an order.
    pub(crate) async fn decision(
        &self,
        key: Result<PromiseToken, OrderId>,
        text: &str,
    ) -> Result<pb::SourcingDecision, Error> {
        let mut tx = self.db.read().await?;
        let stored = match key {
            Ok(token) => store::promise::get(&mut tx, token).await?,
            Err(order) => store::promise::of_order(&mut tx, order).await?,
        };
        tx.commit().await?;
        let stored = stored.ok_or_else(|| Error::DecisionNotFound(text.to_owned()))?;
        Ok(wire::stored_decision(&stored))
    }
}
