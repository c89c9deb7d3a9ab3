//! Extend: a later end for held claims.

use domain::id::ReservationId;
use jiff::Timestamp;

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::error::Error;
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn extend(&mut self, ids: &[ReservationId], until: Timestamp, cause: &Cause) -> Outcome {
        let mut steps = Vec::with_capacity(ids.len());
        for id in ids {
            let mut next = self.get(*id)?;
            let step = next.extend(until)?;
            steps.push((next, step));
        }
        let carried =
            steps.into_iter().map(|(next, step)| self.carry(next, step, cause, ReservationEvent::Extended));
        carried.collect::<Result<_, Error>>()
    }
}
