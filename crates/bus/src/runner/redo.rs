//! Parked events, tried again when an operator asks or when it is time.

use std::sync::Arc;

use db::Tx;
use tokio_util::sync::CancellationToken;

use super::handler::Handled;
use super::heal::{Gap, Unhealed};
use super::refusal::OWNER_AWAY;
use super::{BATCH, Busy, Runner};
use crate::applied::{self, Marks};
use crate::event::Key;
use crate::parked::{self, Parked, Parking};
use crate::{Error, HandleError, Topic, measure};

/// Aggregates looked at in one pass.
const PASS: i64 = 50;

/// How one transaction over parked events ended.
enum Pass {
    /// None is left, the aggregate flows again; none: there was none left before.
    Cleared { name: Option<String> },
    /// The first one failed again.
    Stuck,
    /// There are more.
    More,
    /// The transaction was lost with the handler of this one.
    Broken { parked: Box<Parked>, error: HandleError },
    /// The database does not work; nothing was committed.
    Outage(HandleError),
    /// Events before the first one are missing.
    Missing(Gap),
}

/// How far one aggregate came.
enum Redone {
    /// It flows again, or it is noted when to try the next time.
    Settled,
    /// Events are missing, and their owner does not answer.
    OwnerAway,
}

impl Runner {
    /// Tries every aggregate that has a parked event due.
    pub(super) async fn retry_due(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let due = parked::due(&mut tx, self.group(), self.clock.shared(), PASS).await?;
        let parked = parked::count(&mut tx, self.group()).await?;
        drop(tx);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(measure::PARKED, "consumer" => self.group()).set(parked as f64);
        let mut away: Vec<Topic> = Vec::new();
        for key in due {
            if away.contains(&key.topic) {
                continue;
            }
            let _busy = Busy::start(&self.busy);
            let _turn = self.turn.lock().await;
            if matches!(self.redo(key, stop).await?, Redone::OwnerAway) {
                // its other aggregates wait too, so that those of other owners have their turn
                let mut tx = self.db.begin().await?;
                parked::postpone_gaps(&mut tx, self.group(), key.topic, self.after(OWNER_AWAY)).await?;
                tx.commit().await?;
                away.push(key.topic);
            }
        }
        Ok(())
    }

    /// An outage is over: what was parked until later is tried now. Best effort, since its time comes anyway.
    pub(super) async fn retry_all(&self) {
        let woken = async {
            let mut tx = self.db.begin().await?;
            let woken = parked::wake_all(&mut tx, self.group(), self.clock.shared()).await?;
            tx.commit().await?;
            Ok::<u64, Error>(woken)
        };
        match woken.await {
            Ok(0) => {}
            Ok(parked) => {
                tracing::info!(consumer = self.group(), parked, "retrying parked events after an outage");
            }
            Err(error) => tracing::debug!(consumer = self.group(), %error, "parked events are retried later"),
        }
    }

    async fn redo(&self, key: Key, stop: &CancellationToken) -> Result<Redone, Error> {
        loop {
            if stop.is_cancelled() {
                return Ok(Redone::Settled);
            }
            match Box::pin(self.pass(key, i64::MAX)).await? {
                Pass::Cleared { name } => {
                    let aggregate = name.unwrap_or_else(|| key.aggregate.to_string());
                    tracing::info!(consumer = self.group(), aggregate, "a parked aggregate flows again");
                    self.consumer.committed();
                    return Ok(Redone::Settled);
                }
                Pass::Stuck => return Ok(Redone::Settled),
                Pass::Outage(error) => return Err(db::Error::Unavailable(error.to_string()).into()),
                Pass::More => {}
                Pass::Broken { parked, error } => {
                    // those before it first, then note that it failed
                    Box::pin(self.pass(key, parked.event.sequence)).await?;
                    self.stuck(&parked, &error).await?;
                    return Ok(Redone::Settled);
                }
                Pass::Missing(gap) => match self.ask(&gap, gap.from, stop).await? {
                    Ok(page) => {
                        self.counted(&gap, true, "");
                        self.park_behind(&page).await?;
                    }
                    Err(unhealed) => {
                        self.counted(&gap, false, &unhealed.error);
                        if unhealed.retry {
                            return Ok(Redone::OwnerAway);
                        }
                        self.still_missing(&gap, &unhealed).await?;
                        return Ok(Redone::Settled);
                    }
                },
            }
        }
    }

    /// One transaction over the parked events with a sequence below `before`.
    async fn pass(&self, key: Key, before: i64) -> Result<Pass, Error> {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let mut tx = self.db.begin().await?;
        let mut marks = applied::lock(&mut tx, self.group(), &[key]).await?;
        let waiting = parked::waiting(&mut tx, self.group(), key, limit).await?;
        let mut gone: Vec<i64> = Vec::new();
        let mut end = None;
        for parked in waiting.iter().take_while(|parked| parked.event.sequence < before) {
            end = self.try_parked(&mut tx, &mut marks, parked, &mut gone).await?;
            if end.is_some() {
                break;
            }
        }
        if let Some(lost @ (Pass::Broken { .. } | Pass::Outage(_))) = end {
            return Ok(lost);
        }
        parked::remove(&mut tx, self.group(), key, &gone).await?;
        if end.is_none() && waiting.len() < BATCH && gone.len() == waiting.len() {
            marks.block(key, false);
            end = Some(Pass::Cleared { name: waiting.last().map(|parked| parked.event.aggregate_id()) });
        }
        if !marks.save(&mut tx, self.group()).await? {
            return Ok(Pass::More);
        }
        tx.commit().await?;
        self.count(gone.len() as u64, 0, &[]);
        Ok(end.unwrap_or(Pass::More))
    }

    /// Applies one parked event. Some: the pass ends here.
    async fn try_parked(
        &self,
        tx: &mut Tx,
        marks: &mut Marks,
        parked: &Parked,
        gone: &mut Vec<i64>,
    ) -> Result<Option<Pass>, Error> {
        let event = &parked.event;
        let at = marks.get(event.key()).sequence;
        if event.sequence > at + 1 {
            let (name, from) = (event.aggregate_id(), at + 1);
            let gap = Gap { key: event.key(), name, from, before: event.sequence };
            return Ok(Some(Pass::Missing(gap)));
        }
        if event.sequence == at + 1 {
            match self.handle(tx, event).await? {
                Handled::Done => marks.advance(event.key(), event.sequence),
                Handled::Failed(error) => {
                    let parking = self.poison(event, &error, 1, parked.attempts - 1);
                    parked::failed(tx, self.group(), &parking).await?;
                    return Ok(Some(Pass::Stuck));
                }
                Handled::Outage(error) => return Ok(Some(Pass::Outage(error))),
                Handled::Broken(error) | Handled::TooSlow(error) => {
                    return Ok(Some(Pass::Broken { parked: Box::new(parked.clone()), error }));
                }
            }
        }
        gone.push(event.sequence);
        Ok(None)
    }

    async fn stuck(&self, parked: &Parked, error: &HandleError) -> Result<(), Error> {
        let parking = self.poison(&parked.event, error, 1, parked.attempts - 1);
        let mut tx = self.db.begin().await?;
        parked::failed(&mut tx, self.group(), &parking).await?;
        tx.commit().await?;
        Ok(())
    }

    async fn park_behind(&self, page: &[Arc<crate::Delivered>]) -> Result<(), Error> {
        let parkings: Vec<Parking<'_>> = page.iter().map(|event| Parking::behind(event)).collect();
        let mut tx = self.db.begin().await?;
        parked::park(&mut tx, self.group(), &parkings, self.clock.shared()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Nobody could fill the gap before the first parked event.
    async fn still_missing(&self, gap: &Gap, unhealed: &Unhealed) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let first = parked::waiting(&mut tx, self.group(), gap.key, 1).await?;
        if let Some(head) = first.first() {
            let parking = self.gap(&head.event, gap.from - 1, Some(unhealed));
            parked::failed(&mut tx, self.group(), &parking).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
