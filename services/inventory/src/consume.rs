//! Consume: goods leave their node against a claim.

use domain::id::ReservationId;

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn consume(&mut self, id: ReservationId, units: &[(u32, i64)], cause: &Cause) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.consume(units)?;
        self.carry(next, step, cause, ReservationEvent::Settled { fulfillment: String::new() })
    }
}
