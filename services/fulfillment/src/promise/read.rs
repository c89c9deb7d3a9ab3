//! Reads of promise tokens and of the decisions kept with them.

use contract::fulfillment::v1 as pb;
use domain::id::{FulfillmentId, OrderId, PromiseToken};
use server::Principal;

use crate::Fulfillment;
use crate::error::Error;
use crate::rights;
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
        who: &Principal,
        leg: FulfillmentId,
        text: &str,
    ) -> Result<pb::SourcingDecision, Error> {
        let mut tx = self.db.read().await?;
        let stored = match store::promise_leg::token_of(&mut tx, leg).await? {
            Some(token) => store::promise::get(&mut tx, token).await?,
            None => None,
        };
        let channel = match stored.as_ref().and_then(Stored::order) {
            Some(order) => store::work::channel_of(&mut tx, order).await?,
            None => None,
        };
        tx.commit().await?;
        let decisions = stored.iter().flat_map(|stored| stored.legs.iter().map(move |of| (stored, of)));
        let found = decisions
            .into_iter()
            .find(|(stored, of)| of.id == leg && rights::sees_decision(who, stored, of, channel.as_deref()));
        let (stored, leg) = found.ok_or_else(|| Error::DecisionNotFound(text.to_owned()))?;
        Ok(wire::stored_decision(stored, leg))
    }

    /// The decisions of the legs of an order that the caller may see, newest first.
    pub(crate) async fn decisions(
        &self,
        who: &Principal,
        order: OrderId,
    ) -> Result<Vec<pb::SourcingDecision>, Error> {
        let mut tx = self.db.read().await?;
        let limit = i64::try_from(MOST_DECISIONS).unwrap_or(i64::MAX);
        let promises = store::promise::of_order(&mut tx, order, limit).await?;
        let channel = store::work::channel_of(&mut tx, order).await?;
        tx.commit().await?;
        let all = promises.iter().flat_map(|stored| stored.legs.iter().map(move |leg| (stored, leg)));
        let all = all.filter(|(stored, leg)| rights::sees_decision(who, stored, leg, channel.as_deref()));
        let shown = all.take(MOST_DECISIONS).map(|(stored, leg)| wire::stored_decision(stored, leg));
        Ok(fitting(shown))
    }
}
