//! Events whose statements take too long while the database works for everybody else.

use super::{Failure, Runner, TRIES, Trouble};
use crate::event::Key;
use crate::{Error, HandleError};

/// After this many statements that took too long, an event is parked if the database answers others.
const SLOW_TRIES: u32 = 5;

impl Runner {
    /// A statement for one of these events took too long. Of several the cause is unknown, so they are tried one by one;
    /// one that was the cause too often counts as failed, unless the database does not work at all.
    pub(super) async fn suspect(&self, trouble: &mut Trouble, events: &[(Key, i64)], error: &HandleError) {
        trouble.careful = true;
        let [event] = events else { return };
        let times = trouble.slow.entry(*event).or_default();
        *times += 1;
        if *times < SLOW_TRIES {
            return;
        }
        match self.writes().await {
            Ok(()) => {
                let text = format!("{error}, {times} times in a row while the database answered others");
                trouble.failures.insert(*event, Failure { tries: TRIES, error: HandleError::retry(text) });
            }
            Err(away) => {
                tracing::debug!(consumer = self.group(), error = %away, "the database is slow for all");
            }
        }
    }

    /// Whether a small write succeeds.
    async fn writes(&self) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let touch = "UPDATE comparisons SET compared_until = compared_until WHERE consumer = $1";
        tx.execute(touch, db::params![self.group()]).await?;
        Ok(tx.commit().await?)
    }
}
