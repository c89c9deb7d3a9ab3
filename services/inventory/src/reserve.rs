//! Reserve: take claims for a while, all lines or none.

use std::time::Duration;

use domain::id::ReservationId;
use domain::stock::reservation::{Line, Reservation, State, Step};
use domain::time;
use prost::Message as _;

use crate::batch::{Batch, Outcome};
use crate::command::Cause;
use crate::error::Error;
use crate::wire;
use crate::wire::ReservationEvent;

impl Batch {
    pub(crate) fn reserve(
        &mut self,
        id: ReservationId,
        lines: Vec<Line>,
        ttl: Duration,
        cause: &Cause,
    ) -> Outcome {
        if let Some(known) = self.find(id) {
            return again(known, &lines);
        }
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let fresh = Reservation::hold(id, lines, time::after_ms(self.now, ttl_ms), self.now)?;
        fits(&fresh)?;
        let shifts = fresh.taking();
        self.grant(&fresh.lines, &shifts)?;
        self.carry(fresh, Step::Changed(shifts), cause, ReservationEvent::Held)
    }
}

/// Every event of a reservation names all its lines, and an event has a limit: kits of many parts and long codes can
/// make a thousand lines too many for it.
fn fits(fresh: &Reservation) -> Result<(), Error> {
    let is_small = fresh.lines.len() <= 200;
    if is_small || wire::reservation(fresh).encoded_len() <= bus::MAX_PAYLOAD - 4_096 {
        return Ok(());
    }
    let text =
        format!("with the parts of kits these are {} lines, too many for one claim", fresh.lines.len());
    Err(Error::field("lines", text))
}

/// The same claim under another request id is the same claim; a tombstone or an ended one stays what it is.
fn again(known: &Reservation, lines: &[Line]) -> Outcome {
    let same = |(a, b): (&Line, &Line)| (a.line, &a.position, &a.kit) == (b.line, &b.position, &b.kit);
    let is_same = known.lines.len() == lines.len()
        && known.lines.iter().zip(lines).all(|pair| same(pair) && pair.0.taken() == pair.1.taken());
    match known.state {
        State::Held { .. } | State::Confirmed if is_same => Ok(wire::reservation(known)),
        State::Held { .. } | State::Confirmed => Err(Error::ReservationExists(known.id)),
        State::Consumed | State::Released | State::Expired => {
            let state = known.state.name();
            Err(domain::stock::Refusal::Ended { id: known.id, step: "be taken again", state }.into())
        }
    }
}
