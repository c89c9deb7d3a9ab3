//! Versions, newest first.

use contract::fulfillment::v1 as pb;
use policy::policies;

use super::command::List;
use crate::Fulfillment;
use crate::error::Error;
use crate::wire::fitting;

/// Rows read at once.
const PAGE: i64 = 500;

impl Fulfillment {
    /// A page of versions, and the number before which the next one begins; 0: it is the last.
    pub(crate) async fn list_policies(&self, asked: &List) -> Result<(Vec<pb::Policy>, i64), Error> {
        let now = self.clock.business();
        let at = asked.only_in_force.then_some(now);
        let mut found: Vec<pb::Policy> = Vec::new();
        let mut before = asked.before;
        let mut tx = self.db.read().await?;
        // One more than asked, to know whether there are more.
        while found.len() <= asked.size {
            let page = policies::page(&mut tx, asked.kind, at, before, PAGE).await?;
            let Some(last) = page.last() else { break };
            before = last.policy.version;
            for stored in page {
                if !asked.only_in_force || stored.version()?.is_in_force(now) {
                    found.push(stored.policy);
                }
            }
        }
        tx.commit().await?;
        let there = found.len();
        let page = fitting(found.into_iter().take(asked.size));
        let next = page.last().filter(|_| page.len() < there).map_or(0, |last| last.version);
        Ok((page, next))
    }
}
