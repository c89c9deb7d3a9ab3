//! Extend: a later end for a held claim.

use domain::id::ReservationId;
use jiff::Timestamp;

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn extend(&mut self, id: ReservationId, until: Timestamp, cause: &Cause) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.extend(until)?;
        self.carry(next, step, cause, ReservationEvent::Extended)
    }
}
