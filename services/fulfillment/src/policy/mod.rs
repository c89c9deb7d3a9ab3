//! The numbers of the retailer: versions are put, put in force, rolled back, listed and explained (`PolicyService`).
//!
//! What is decided about them, and about groups of nodes, is decided under one lock (`store::policy::lock`), which is taken
//! after the rows of nodes and before anything else of policies. The rows are those of `crates/policy`, by which the other
//! services keep copies; this process asks its own view of them.

pub(crate) mod activate;
pub(crate) mod ambiguity;
mod change;
pub(crate) mod command;
mod explain;
mod list;
mod put;
pub(crate) mod refusal;
mod roll_back;
mod settings;
mod withdraw;

use db::Tx;
use domain::time::Timestamp;

use crate::error::Error;
use crate::{Fulfillment, store};

impl Fulfillment {
    /// Locks what decides about policies. Answers the time, read under the lock: what another caller ended just before is
    /// over by then.
    async fn lock_policies(&self, tx: &mut Tx) -> Result<Timestamp, Error> {
        store::policy::lock(tx).await?;
        Ok(self.clock.business())
    }

    /// Takes what was committed into the view of this process. Should that fail, its task does it a moment later.
    pub(crate) async fn learn_policies(&self) {
        if let Err(error) = self.policies.refresh().await {
            tracing::warn!(%error, "policies cannot be read after a change, retrying");
            self.policies.wake();
        }
    }

    /// The same after nodes changed: while there are no versions, nothing depends on nodes, and the task is soon enough.
    pub(crate) async fn learn_facts(&self) {
        if self.policies.book().versions().is_empty() {
            self.policies.wake();
        } else {
            self.learn_policies().await;
        }
    }
}
