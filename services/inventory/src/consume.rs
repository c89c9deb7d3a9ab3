//! Consume: goods leave their node against a claim.

use std::sync::Arc;

use domain::id::ReservationId;

use crate::desk::{Desk, Outcome, Told};

impl Desk {
    pub(crate) fn consume(&mut self, id: ReservationId, units: &[(u32, i64)], actor: &Arc<str>) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.consume(units)?;
        self.carry(next, step, actor, Told::Settled { fulfillment: String::new() })
    }
}
