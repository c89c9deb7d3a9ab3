//! Release and expire: give back what is held.

use domain::id::ReservationId;
use domain::stock::reservation::{Reservation, Step};

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::wire::ReservationEvent;

impl Batch {
    /// A release that comes before its reserve leaves a tombstone, so that the reserve finds it and is refused.
    ///
    /// A caller means the claim of a promise: one that an order has taken meanwhile is not the caller's any more. Only
    /// what becomes of the order gives that back.
    pub(crate) fn release(
        &mut self,
        id: ReservationId,
        reason: &str,
        unless_confirmed: bool,
        cause: &Cause,
    ) -> Outcome {
        let event = ReservationEvent::Released { reason };
        if let Some(mut next) = self.find(id).cloned() {
            let step = if unless_confirmed { next.let_go()? } else { next.release() };
            self.carry(next, step, cause, event)
        } else {
            let tombstone = Reservation::tombstone(id, self.now);
            self.carry(tombstone, Step::Changed(Vec::new()), cause, event)
        }
    }

    /// Ends a claim whose time is over; one that was extended or confirmed meanwhile stays.
    pub(crate) fn expire(&mut self, id: ReservationId, cause: &Cause) -> Outcome {
        let mut next = self.get(id)?;
        let step = next.expire(self.now);
        self.carry(next, step, cause, ReservationEvent::Expired)
    }
}
