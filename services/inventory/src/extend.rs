//! Extend: a later end for a held claim.

use domain::id::ReservationId;
use jiff::Timestamp;

use crate::command::Cause;
use crate::desk::{Desk, Outcome, Told};

impl Desk {
    pub(crate) fn extend(&mut self, id: ReservationId, until: Timestamp, cause: &Cause) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.extend(until)?;
        self.carry(next, step, cause, Told::Extended)
    }
}
