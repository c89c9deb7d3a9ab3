//! Confirm: an order takes its claims, and the time limit is gone. Claims that ran out meanwhile are taken again if
//! the stock is still there.

use contract::inventory::v1 as pb;
use domain::stock::Refusal;
use domain::stock::reservation::{Line, Reservation, Step};

use crate::batch::Batch;
use crate::command::{Cause, Confirm};
use crate::error::{self, Error};
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn confirm(
        &mut self,
        confirm: &Confirm,
        lines: Result<Vec<Line>, Error>,
        cause: &Cause,
    ) -> Result<pb::Reservation, Error> {
        let event = ReservationEvent::Confirmed(confirm.order);
        let Some(mut next) = self.find(confirm.id).cloned() else {
            return self.claim_at_once(confirm, lines?, cause);
        };
        if let Some(lost) = next.lines.iter().find(|line| next.is_broken() && line.released > 0) {
            let refusal = Error::NoStock {
                reservation: next.id,
                line: lost.line,
                sku: lost.position.sku.clone(),
                node: lost.position.node.clone(),
                wanted: lost.taken(),
                available: lost.held,
            };
            return self.refused(next, confirm, refusal, cause);
        }
        confirm.note_on(&mut next);
        match next.confirm(confirm.order, &confirm.wants) {
            Ok(step) => self.carry(next, step, cause, event),
            Err(Refusal::Lost { .. }) => match self.take_again(&mut next, confirm) {
                Ok(step) => self.carry(next, step, cause, event),
                Err(refusal) => self.refused(next, confirm, refusal, cause),
            },
            Err(refusal) => self.refused(next, confirm, refusal.into(), cause),
        }
    }

    fn take_again(&self, next: &mut Reservation, confirm: &Confirm) -> Result<Step, Error> {
        let shifts = next.lost(&confirm.wants)?;
        self.grant(&[(next, &shifts)], &[])?;
        Ok(next.rehold(confirm.order, &confirm.wants)?)
    }

    /// The reservation does not exist (any more): an order that stands claims what it needs now.
    fn claim_at_once(
        &mut self,
        confirm: &Confirm,
        lines: Vec<Line>,
        cause: &Cause,
    ) -> Result<pb::Reservation, Error> {
        if lines.is_empty() {
            return Err(Error::ReservationNotFound(confirm.id));
        }
        let mut fresh = Reservation::hold(confirm.id, lines, self.now, self.now)?;
        confirm.note_on(&mut fresh);
        fresh.channel.clone_from(&confirm.channel);
        let shifts = fresh.taking();
        if let Err(refusal) = self.grant(&[(&fresh, &shifts)], &[]) {
            let mut none = Reservation::tombstone(confirm.id, self.now);
            none.version = 0;
            return self.refused(none, confirm, refusal, cause);
        }
        self.carry(fresh.clone(), Step::Changed(shifts), cause, ReservationEvent::Held)?;
        let step = fresh.confirm(confirm.order, &[])?;
        self.carry(fresh, step, cause, ReservationEvent::Confirmed(confirm.order))
    }

    /// The order stands already and nobody waits for an answer: the refusal becomes an event.
    fn refused(
        &mut self,
        mut next: Reservation,
        confirm: &Confirm,
        refusal: Error,
        cause: &Cause,
    ) -> Result<pb::Reservation, Error> {
        let (reason, sku) = match &refusal {
            Error::NoStock { sku, .. } => ("NO_STOCK", sku.to_string()),
            Error::Refused(Refusal::Ended { state, .. }) => (error::ended(state).name, String::new()),
            Error::Refused(Refusal::OtherOrder { .. }) => ("RESERVATION_TAKEN", String::new()),
            Error::Refused(Refusal::TooMany { .. } | Refusal::UnknownLine { .. }) => {
                ("RESERVATION_DIFFERS", String::new())
            }
            _ => return Err(refusal),
        };
        tracing::warn!(reservation_id = %confirm.id, order_id = %confirm.order, reason, "the claims of an order are lost");
        let step = next.refuse();
        self.carry(next, step, cause, ReservationEvent::Refused { order: confirm.order, reason, sku })
    }
}

impl Confirm {
    /// What the order says about the claim besides taking it.
    fn note_on(&self, reservation: &mut Reservation) {
        reservation.promised = self.promised.or(reservation.promised);
        reservation.tier = self.tier;
    }
}
