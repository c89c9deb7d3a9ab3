//! Consume: goods leave their node against a claim.

use domain::id::ReservationId;

use crate::command::Cause;
use crate::desk::{Desk, Outcome, Told};

impl Desk {
    pub(crate) fn consume(&mut self, id: ReservationId, units: &[(u32, i64)], cause: &Cause) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.consume(units)?;
        self.carry(next, step, cause, Told::Settled { fulfillment: String::new() })
    }
}
