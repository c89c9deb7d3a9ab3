//! Extend: a later end for a held claim.

use std::sync::Arc;

use domain::id::ReservationId;
use jiff::Timestamp;

use crate::desk::{Desk, Outcome, Told};

impl Desk {
    pub(crate) fn extend(&mut self, id: ReservationId, until: Timestamp, actor: &Arc<str>) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.extend(until)?;
        self.carry(next, step, actor, Told::Extended)
    }
}
