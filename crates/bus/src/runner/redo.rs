//! Parked events, tried again when an operator asks or when it is time.

use std::sync::Arc;

use db::Tx;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::heal::{Gap, Unhealed};
use super::{BATCH, Busy, Runner};
use crate::applied::{self, Marks};
use crate::parked::{self, Parked, Parking};
use crate::{Error, measure};

/// Aggregates looked at in one pass.
const PASS: i64 = 50;

/// How one transaction over parked events ended.
enum Pass {
    /// None is left, the aggregate flows again.
    Cleared,
    /// The first one failed again.
    Stuck,
    /// There are more.
    More,
    /// Events before the first one are missing; `tries` of it were in vain so far.
    Missing { gap: Gap, tries: i64 },
}

impl Runner {
    /// Tries every aggregate that has a parked event due.
    pub(super) async fn retry_due(&self, stop: &CancellationToken) -> Result<(), Error> {
        let mut tx = self.db.read().await?;
        let due = parked::due(&mut tx, self.group(), self.clock.wall(), PASS).await?;
        let parked = parked::count(&mut tx, self.group()).await?;
        drop(tx);
        #[expect(clippy::cast_precision_loss, reason = "a gauge")]
        metrics::gauge!(measure::PARKED, "consumer" => self.group()).set(parked as f64);
        for aggregate in due {
            let _busy = Busy::start(&self.busy);
            let _turn = self.turn.lock().await;
            self.redo(aggregate, stop).await?;
        }
        Ok(())
    }

    async fn redo(&self, aggregate: Uuid, stop: &CancellationToken) -> Result<(), Error> {
        loop {
            if stop.is_cancelled() {
                return Ok(());
            }
            match Box::pin(self.pass(aggregate)).await? {
                Pass::Cleared => {
                    tracing::info!(consumer = self.group(), %aggregate, "a parked aggregate flows again");
                    self.consumer.committed();
                    return Ok(());
                }
                Pass::Stuck => return Ok(()),
                Pass::More => {}
                Pass::Missing { gap, tries } => match self.ask(&gap, gap.from, stop).await? {
                    Ok(page) => {
                        self.counted(&gap, true, "");
                        self.park_behind(&page).await?;
                    }
                    Err(unhealed) => {
                        self.counted(&gap, false, &unhealed.error);
                        return self.still_missing(&gap, &unhealed, tries).await;
                    }
                },
            }
        }
    }

    async fn pass(&self, aggregate: Uuid) -> Result<Pass, Error> {
        let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
        let mut tx = self.db.begin().await?;
        let mut marks = applied::lock(&mut tx, self.group(), &[aggregate]).await?;
        let waiting = parked::waiting(&mut tx, self.group(), aggregate, limit).await?;
        let mut gone: Vec<i64> = Vec::new();
        let mut end = None;
        for parked in &waiting {
            end = self.try_parked(&mut tx, &mut marks, parked, &mut gone).await?;
            if end.is_some() {
                break;
            }
        }
        parked::remove(&mut tx, self.group(), aggregate, &gone).await?;
        if end.is_none() && waiting.len() < BATCH {
            marks.block(aggregate, false);
            end = Some(Pass::Cleared);
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
        let at = marks.get(event.aggregate).sequence;
        if event.sequence > at + 1 {
            let (topic, aggregate) = (event.topic, event.aggregate);
            let gap = Gap { topic, aggregate, from: at + 1, before: event.sequence };
            return Ok(Some(Pass::Missing { gap, tries: parked.attempts }));
        }
        if event.sequence == at + 1 {
            if let Err(error) = self.handle(tx, event, true).await? {
                let parking = self.poison(event, &error, 1, parked.attempts + 1);
                parked::failed(tx, self.group(), &parking).await?;
                return Ok(Some(Pass::Stuck));
            }
            marks.advance(event.aggregate, event.sequence);
        }
        gone.push(event.sequence);
        Ok(None)
    }

    async fn park_behind(&self, page: &[Arc<crate::Delivered>]) -> Result<(), Error> {
        let parkings: Vec<Parking<'_>> = page.iter().map(|event| Parking::behind(event)).collect();
        let mut tx = self.db.begin().await?;
        parked::park(&mut tx, self.group(), &parkings, self.clock.wall()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Nobody could fill the gap before the first parked event.
    async fn still_missing(&self, gap: &Gap, unhealed: &Unhealed, tries: i64) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let first = parked::waiting(&mut tx, self.group(), gap.aggregate, 1).await?;
        if let Some(head) = first.first() {
            let parking = self.gap(&head.event, gap.from - 1, Some(unhealed), tries + 1);
            parked::failed(&mut tx, self.group(), &parking).await?;
        }
        tx.commit().await?;
        Ok(())
    }
}
