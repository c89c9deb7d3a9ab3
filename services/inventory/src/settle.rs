//! Settle: bring a reservation to the quantities that its fulfillment order reports, and take in what the store found
//! out about the stock.

use contract::inventory::v1 as pb;
use domain::stock::movement::Kind;
use domain::stock::reservation::{Reservation, Step, is_over};
use service::Fault;

use crate::batch::Batch;
use crate::command::{Cause, Finding, Found, Settle};
use crate::error::Error;
use crate::relief::NOT_FOUND;
use crate::store::movements::By;
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn settle(&mut self, settle: &Settle, cause: &Cause) -> Result<pb::Reservation, Error> {
        if settle.is_started {
            self.start(settle.id);
        }
        let event = ReservationEvent::Settled { fulfillment: settle.fulfillment.to_string() };
        if self.find(settle.id).is_none() && is_over(&settle.targets) {
            // the word of the order may still be on its way: it finds this and claims nothing
            let mut ended = Reservation::tombstone(settle.id, self.now);
            ended.order = Some(settle.order);
            return self.carry(ended, Step::Changed(Vec::new()), cause, event);
        }
        let mut next = self.get(settle.id)?;
        let step = next.settle(settle.order, &settle.targets)?;
        let given_back = given_back(&step);
        let after = next.clone();
        let shown = self.carry(next, step, cause, event)?;
        for finding in &settle.findings {
            self.found(&after, finding, &given_back, cause)?;
        }
        Ok(shown)
    }

    fn found(
        &mut self,
        reservation: &Reservation,
        finding: &Finding,
        given_back: &[(usize, i64)],
        cause: &Cause,
    ) -> Result<(), Error> {
        let reference = reservation.id.to_string();
        for (index, line, is_known) in finding.claims(reservation) {
            let place = self.ledger.place(&line.position).ok_or(Fault::Raced)?;
            let position = self.ledger.slot(place).position;
            let (kind, quantity, reason) = match finding.what {
                Found::Unfit(units, reason) if is_known => {
                    let pieces = units.map(|units| units.saturating_mul(line.per_unit));
                    let pieces = pieces.unwrap_or_else(|| pieces_of(given_back, index));
                    (Kind::Quarantine, pieces.min(position.on_hand), reason)
                }
                // which part of a kit is unfit was not said: all of them are to be counted
                Found::Unfit(_, reason) | Found::Unsure(reason) => (Kind::CountBlock, 0, reason),
                Found::Missing => (Kind::CountBlock, 0, NOT_FOUND),
            };
            let is_idle = match kind {
                Kind::CountBlock => position.count_blocked,
                _ => quantity <= 0,
            };
            if !is_idle {
                self.ledger.post(
                    place,
                    kind,
                    quantity,
                    By { actor: &cause.actor, reason, reference: &reference, at: self.now },
                )?;
                self.falls_short(place, cause);
            }
            if finding.what == Found::Missing {
                self.is_empty(place, reservation.id, cause);
            }
        }
        Ok(())
    }
}

fn given_back(step: &Step) -> Vec<(usize, i64)> {
    match step {
        Step::Unchanged => Vec::new(),
        Step::Changed(shifts) => {
            let released = shifts.iter().filter(|shift| shift.kind == Kind::Release);
            released.map(|shift| (shift.line, -shift.reserved)).collect()
        }
    }
}

fn pieces_of(given_back: &[(usize, i64)], line: usize) -> i64 {
    given_back.iter().filter(|(index, _)| *index == line).map(|(_, pieces)| pieces).sum()
}
