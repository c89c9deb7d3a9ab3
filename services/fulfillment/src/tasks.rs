//! What was decided inside a transaction and is done after it, until it succeeds: calls to peers, and what waits for
//! its time.

use contract::inventory::v1 as stock;
use domain::id::{self, PromiseToken};
use futures_util::future::join_all;
use jiff::{SignedDuration, Timestamp};
use tonic::{Code, Status};
use uuid::Uuid;

use crate::Fulfillment;
use crate::error::Error;
use crate::promise::token::reservation_ids;
use crate::store::task::{self, Task};

/// How many calls are made at the same time.
const AT_ONCE: i64 = 16;

/// The kinds of calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Inventory lets go of the stock of a promise that ended.
    ReleaseReservation,
    /// A promise that was confirmed by a call ends, unless its order has come.
    EndUnclaimed,
}

impl Kind {
    /// Its name in storage.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::ReleaseReservation => "RELEASE_RESERVATION",
            Self::EndUnclaimed => "END_UNCLAIMED",
        }
    }

    fn parse(name: &str) -> Option<Self> {
        [Self::ReleaseReservation, Self::EndUnclaimed].into_iter().find(|kind| kind.name() == name)
    }
}

impl Fulfillment {
    /// Makes the calls that are due: peers first, then what came of it in one transaction. Answers how many were made. When
    /// one fails, the rest waits for the next turn: a peer that is away must not hold up the clocks of the stores.
    pub(crate) async fn run_tasks(&self, now: Timestamp) -> Result<usize, Error> {
        let mut made = 0;
        loop {
            let mut tx = self.db.read().await?;
            let due = task::due(&mut tx, now, AT_ONCE).await?;
            tx.commit().await?;
            if due.is_empty() {
                return Ok(made);
            }
            let calls = due.into_iter().map(|task| async {
                let result = self.make(&task).await;
                (task, result)
            });
            let results: Vec<(Task, Result<(), String>)> = join_all(calls).await;
            let done: Vec<Uuid> =
                results.iter().filter(|(_, result)| result.is_ok()).map(|(task, _)| task.id).collect();
            made += done.len();
            let all_went_well = done.len() == results.len();
            let mut tx = self.db.begin().await?;
            task::done(&mut tx, &done).await?;
            for (task, result) in &results {
                if let Err(error) = result {
                    tracing::warn!(task = task.kind, subject = %task.subject, attempts = task.attempts, error,
                        "a call to a peer failed and is made again later");
                    task::again(&mut tx, task.id, now + pause(task.attempts), error).await?;
                }
            }
            tx.commit().await?;
            if !all_went_well {
                return Ok(made);
            }
        }
    }

    /// Makes one call now, and takes it off the list when it succeeded.
    pub(crate) async fn run_task(&self, kind: Kind, subject: Uuid) -> Result<(), Error> {
        let task =
            Task { id: task::id(kind.name(), subject), kind: kind.name().to_owned(), subject, attempts: 0 };
        if let Err(error) = self.make(&task).await {
            return Err(Error::Peer(Box::new(Status::unavailable(error))));
        }
        let mut tx = self.db.begin().await?;
        task::done(&mut tx, &[task.id]).await?;
        Ok(tx.commit().await?)
    }

    async fn make(&self, task: &Task) -> Result<(), String> {
        match Kind::parse(&task.kind) {
            Some(Kind::ReleaseReservation) => self.release_reservation(PromiseToken::new(task.subject)).await,
            Some(Kind::EndUnclaimed) => {
                self.end_unclaimed(PromiseToken::new(task.subject)).await.map_err(|error| error.to_string())
            }
            None => Err(format!("unknown task kind {}", task.kind)),
        }
    }

    /// Gives back the stock of a promise that ended. It may be long since that was decided: the promise of an order
    /// that came late is that order's, and so is its stock.
    async fn release_reservation(&self, token: PromiseToken) -> Result<(), String> {
        let promise = match self.stored(token).await {
            Ok(promise) if promise.order().is_some() => return Ok(()),
            Ok(promise) => promise,
            // It ended so long ago that its stock has ended by itself.
            Err(Error::PromiseNotFound(_)) => return Ok(()),
            Err(error) => return Err(error.to_string()),
        };
        let request = stock::ReleaseReservationRequest {
            request_id: id::derived("promise.release", &token.uuid().to_string()).to_string(),
            reservation_ids: reservation_ids(&promise),
            reason: "PROMISE_ENDED".to_owned(),
        };
        match self.inventory.clone().release_reservation(request).await {
            Ok(_) => Ok(()),
            // It does not exist, or is settled: there is nothing to let go.
            Err(status) if matches!(status.code(), Code::NotFound | Code::FailedPrecondition) => Ok(()),
            Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
        }
    }
}

/// 1 s, 2 s, 4 s .. 5 min.
fn pause(attempts: i64) -> SignedDuration {
    let doubled = 1_i64 << attempts.clamp(0, 9);
    SignedDuration::from_secs(doubled.min(300))
}
