//! Release and expire: give back what is held.

use contract::inventory::v1 as pb;
use domain::id::ReservationId;
use domain::stock::reservation::{Reservation, Step};

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::error::Error;
use crate::wire::ReservationEvent;

impl Batch {
    /// A release that comes before its reserve leaves a tombstone, so that the reserve finds it and is refused.
    ///
    /// A caller means the claims of a promise: one that an order has taken meanwhile is not the caller's any more, and then
    /// none is given back. Only what becomes of the order gives that back.
    pub(crate) fn release(
        &mut self,
        ids: &[ReservationId],
        reason: &str,
        unless_confirmed: bool,
        cause: &Cause,
    ) -> Outcome {
        let released = self.released(ids, unless_confirmed)?;
        let carried = released
            .into_iter()
            .map(|(next, step)| self.carry(next, step, cause, ReservationEvent::Released { reason }));
        carried.collect()
    }

    /// What releasing these would do to each.
    pub(crate) fn released(
        &self,
        ids: &[ReservationId],
        unless_confirmed: bool,
    ) -> Result<Vec<(Reservation, Step)>, Error> {
        let released = |id: &ReservationId| {
            let Some(mut next) = self.find(*id).cloned() else {
                return Ok((Reservation::tombstone(*id, self.now), Step::Changed(Vec::new())));
            };
            let step = if unless_confirmed { next.let_go()? } else { next.release() };
            Ok((next, step))
        };
        ids.iter().map(released).collect()
    }

    /// Ends a claim whose time is over; one that was extended or confirmed meanwhile stays.
    pub(crate) fn expire(&mut self, id: ReservationId, cause: &Cause) -> Result<pb::Reservation, Error> {
        let mut next = self.get(id)?;
        let step = next.expire(self.now);
        self.carry(next, step, cause, ReservationEvent::Expired)
    }
}
