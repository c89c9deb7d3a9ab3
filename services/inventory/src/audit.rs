//! The audit: recomputes the conservation laws from the ledger, on one snapshot of live data, and names the first row
//! that breaks one.

use std::time::Duration;

use contract::inventory::v1 as pb;
use service::Fault;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::Inventory;
use crate::error::Error;
use crate::store::audit::{self, Broken};
use crate::wire;

/// The most audits that run or wait.
const SEATS: usize = 4;

/// Who may audit: one at a time, since each reads all there is, and some who wait. A crowd of them would take all
/// connections from those who sell.
pub(crate) struct Turns {
    seats: Semaphore,
    turn: Semaphore,
}

impl Default for Turns {
    fn default() -> Self {
        Self { seats: Semaphore::new(SEATS), turn: Semaphore::new(1) }
    }
}

impl Turns {
    async fn take(&self) -> Result<(SemaphorePermit<'_>, SemaphorePermit<'_>), Error> {
        let seat = self.seats.try_acquire().map_err(|_| Error::TooManyAudits)?;
        let turn = self.turn.acquire().await.map_err(|_| Fault::Stopping)?;
        Ok((turn, seat))
    }
}

impl Inventory {
    /// `limit`: how long each question may take, once it is this audit's turn.
    pub(crate) async fn audit(&self, limit: impl FnOnce() -> Duration) -> Result<pb::AuditResponse, Error> {
        let _turn = self.audits.take().await?;
        let mut tx = self.db.survey(limit()).await?;
        let sums = audit::sums(&mut tx).await?;
        let reservations = audit::reservations(&mut tx).await?;
        let laws = vec![
            law("ON_HAND_IS_SUM_OF_LEDGER", "on_hand is the sum of its ledger rows", sums.on_hand),
            law("RESERVED_IS_SUM_OF_LEDGER", "reserved is the sum of its ledger rows", sums.reserved),
            law("RESERVED_IS_SUM_OF_CLAIMS", "reserved is the sum of the open reservation lines", sums.held),
            law(
                "CONSUMED_IS_SUM_OF_CLAIMS",
                "goods consumed are those of the reservation lines",
                sums.consumed,
            ),
            law("QUARANTINE_IS_SUM_OF_LEDGER", "quarantine is the sum of its ledger rows", sums.quarantine),
            law(
                "LEDGER_ENDS_AT_POSITION",
                "each position knows its last ledger row, and none is missing",
                sums.head,
            ),
            law(
                "LEDGER_IS_A_CHAIN",
                "each ledger row carries on the number and the balances of the row before",
                audit::chain(&mut tx).await?,
            ),
            law(
                "STATE_FOLLOWS_LINES",
                "an open reservation holds units, an ended one none",
                audit::states(&mut tx).await?,
            ),
            law(
                "CHANNEL_CLAIMS_ARE_SUM_OF_CLAIMS",
                "where units are kept for a channel, what it has claimed is the sum of its open reservation lines",
                audit::channel_claims(&mut tx).await?,
            ),
            law(
                "NOTHING_WITHOUT_POSITION",
                "each ledger row and reservation line has its position",
                sums.orphans,
            ),
        ];
        Ok(pb::AuditResponse {
            ok: laws.iter().all(|law| law.ok),
            laws,
            positions: sums.positions,
            reservations,
            movements: sums.movements,
            overclaimed: sums.overclaimed,
            read_time: Some(wire::timestamp(self.clock.business())),
        })
    }
}

fn law(name: &str, description: &str, broken: Broken) -> pb::AuditLaw {
    pb::AuditLaw {
        law: name.to_owned(),
        description: description.to_owned(),
        ok: broken.rows == 0,
        broken: broken.rows,
        first: broken.first.unwrap_or_default(),
    }
}
