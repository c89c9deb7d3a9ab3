//! Time passes: steps become risky, customers are reminded, steps end. What an end does, the method of the order says.

use domain::fulfillment::State;
use domain::id::FulfillmentId;
use jiff::{SignedDuration, Timestamp};

use service::Fault;

use super::change::Change;
use crate::store::clock as store;
use crate::{Error, Fulfillment};

/// The most fulfillment orders looked at in one go.
const BATCH: i64 = 100;

/// The most that can be due at once for one fulfillment order: warnings, reminders and ends of its clocks, with room.
const MOST_TICKS: usize = 12;

/// When one that can't be moved is looked at again: many of them must not keep the others from their turn.
const LATER: SignedDuration = SignedDuration::from_mins(1);

/// Who acts when the clock does.
const CLOCK: &str = "service/fulfillment";

impl Fulfillment {
    /// Does what is due now. Answers for how many fulfillment orders something was done.
    pub(crate) async fn work_due(&self, now: Timestamp) -> Result<usize, Error> {
        let mut tx = self.db.read().await?;
        let due = store::due(&mut tx, now, BATCH).await?;
        drop(tx);
        let mut done = 0;
        for id in due {
            match db::retry(3, Error::is_retry, || self.tick(id, now)).await {
                Ok(changed) => done += usize::from(changed),
                Err(Error::Fault(fault @ (Fault::Db(_) | Fault::Bus(_)))) => return Err(fault.into()),
                // One that can't be read or moved must not stop the clock of all others.
                Err(error) => {
                    tracing::error!(fulfillment_id = %id, %error, "what is due cannot be done, trying again later");
                    self.postpone(id, now.saturating_add(LATER).unwrap_or(Timestamp::MAX)).await?;
                }
            }
        }
        Ok(done)
    }

    async fn postpone(&self, id: FulfillmentId, until: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        store::postpone(&mut tx, id, until).await?;
        Ok(tx.commit().await?)
    }

    /// When something is due next.
    pub(crate) async fn work_next_due(&self) -> Result<Option<Timestamp>, Error> {
        let mut tx = self.db.read().await?;
        store::next_due(&mut tx).await
    }

    async fn tick(&self, id: FulfillmentId, now: Timestamp) -> Result<bool, Error> {
        let mut tx = self.db.begin().await?;
        let mut change = self.change(&mut tx, id, CLOCK, now).await?;
        let is_put_off = change.stored.order.heed_closings(now);
        let was_offered = change.stored.order.state() == State::Offered;
        let is_changed = pass(&mut change, now)?;
        let mut silence = None;
        if is_changed {
            self.save(&mut tx, &mut change).await?;
            let order = &change.stored.order;
            if was_offered && order.state() == State::TimedOut {
                silence = Some(self.offer_ran_out(&mut tx, &change.stored, now).await?);
            }
        } else {
            // A closing moves ends, and one that could not be moved was put off: left as it is, it would be looked at for ever.
            store::rewrite(&mut tx, &change.stored.order).await?;
            if is_put_off {
                change.show(&mut tx).await?;
            }
        }
        tx.commit().await?;
        if let Some(silence) = silence {
            self.note_silence(&change.stored.order.node, silence);
        }
        if is_changed || is_put_off {
            self.work.room.wake(&change.stored.order.node);
        }
        Ok(is_changed)
    }
}

/// Everything that is due by now happens, one thing after another.
fn pass(change: &mut Change, now: Timestamp) -> Result<bool, Error> {
    let mut changed = false;
    for _ in 0..MOST_TICKS {
        let Some(event) = change.stored.order.tick(now)? else { break };
        change.happened(&event);
        changed = true;
    }
    Ok(changed)
}
