//! Reserve: take claims for a while, all reservations and lines of a request or none.

use std::time::Duration;

use contract::inventory::v1 as pb;
use domain::id::ReservationId;
use domain::stock::reservation::{Line, Reservation, Shift, State, Step};
use domain::time;
use prost::Message as _;

use crate::batch::{Batch, Outcome};
use crate::command::{Cause, NewClaim};
use crate::error::Error;
use crate::wire;
use crate::wire::ReservationEvent;

/// The most lines, with the parts of kits, that fit into an answer whatever their codes are.
const SURELY_FITS: usize = 2_000;

/// The most bytes of all reservations of a request: they are one answer.
const MOST_BYTES: usize = server::MESSAGE_LIMIT - 65_536;

/// Why a reservation ends that another one takes the place of.
const REPLACED: &str = "REPLACED";

/// What a request finds of one of its reservations.
enum Claimed {
    /// It was taken before.
    Known(pb::Reservation),
    /// It is to be taken.
    Fresh(Reservation, Vec<Shift>),
}

impl Batch {
    /// `lines` are those of each claim. Nothing is taken, and none of `instead_of` is given back, before everything is known
    /// to be granted.
    pub(crate) fn reserve(
        &mut self,
        claims: &[NewClaim],
        lines: Vec<Vec<Line>>,
        ttl: Duration,
        instead_of: &[ReservationId],
        cause: &Cause,
    ) -> Outcome {
        let ttl_ms = i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX);
        let until = time::after_ms(self.now, ttl_ms);
        let mut all = Vec::with_capacity(claims.len());
        for (index, (claim, lines)) in claims.iter().zip(lines).enumerate() {
            all.push(if let Some(known) = self.find(claim.id) {
                Claimed::Known(again(known, claim, &lines)?)
            } else {
                let mut fresh = Reservation::hold(claim.id, lines, until, self.now)?;
                fresh.channel.clone_from(&claim.channel);
                fresh.promised = claim.promised;
                fits(index, &fresh)?;
                let shifts = fresh.taking();
                Claimed::Fresh(fresh, shifts)
            });
        }
        fit_together(&all)?;
        let fresh = all.iter().filter_map(|claimed| match claimed {
            Claimed::Known(_) => None,
            Claimed::Fresh(fresh, shifts) => Some((fresh, shifts.as_slice())),
        });
        let released = self.released(instead_of, true)?;
        self.grant(&fresh.collect::<Vec<_>>(), &released)?;
        for (next, step) in released {
            self.carry(next, step, cause, ReservationEvent::Released { reason: REPLACED })?;
        }
        let carried = all.into_iter().map(|claimed| match claimed {
            Claimed::Known(known) => Ok(known),
            Claimed::Fresh(fresh, shifts) => {
                self.carry(fresh, Step::Changed(shifts), cause, ReservationEvent::Held)
            }
        });
        carried.collect()
    }
}

/// The event of a taken reservation names all its lines, and an event has a limit: kits of many parts and long codes can
/// make a thousand lines too many for it.
fn fits(index: usize, fresh: &Reservation) -> Result<(), Error> {
    let is_small = fresh.lines.len() <= 200;
    if is_small || wire::reservation(fresh).encoded_len() <= bus::MAX_PAYLOAD - 4_096 {
        return Ok(());
    }
    let text =
        format!("with the parts of kits these are {} lines, too many for one reservation", fresh.lines.len());
    Err(Error::field(format!("reservations[{index}].lines"), text))
}

/// The same for the answer that all reservations of a request share.
fn fit_together(all: &[Claimed]) -> Result<(), Error> {
    let lines = |claimed: &Claimed| match claimed {
        Claimed::Known(known) => known.lines.len(),
        Claimed::Fresh(fresh, _) => fresh.lines.len(),
    };
    let lines: usize = all.iter().map(lines).sum();
    if all.len() == 1 || lines <= SURELY_FITS {
        return Ok(());
    }
    let bytes = |claimed: &Claimed| match claimed {
        Claimed::Known(known) => known.encoded_len(),
        Claimed::Fresh(fresh, _) => wire::reservation(fresh).encoded_len(),
    };
    if all.iter().map(bytes).sum::<usize>() <= MOST_BYTES {
        return Ok(());
    }
    let text = format!("with the parts of kits these are {lines} lines, too many for one request");
    Err(Error::field("reservations", text))
}

/// The same claim under another request id is the same claim; a tombstone or an ended one stays what it is.
fn again(known: &Reservation, claim: &NewClaim, lines: &[Line]) -> Result<pb::Reservation, Error> {
    let same = |(a, b): (&Line, &Line)| (a.line, &a.position, &a.kit) == (b.line, &b.position, &b.kit);
    let is_same = known.channel == claim.channel
        && known.lines.len() == lines.len()
        && known.lines.iter().zip(lines).all(|pair| same(pair) && pair.0.taken() == pair.1.taken());
    match known.state {
        _ if known.is_broken() => Err(domain::stock::Refusal::Lost { id: known.id }.into()),
        State::Held { .. } | State::Confirmed if is_same => Ok(wire::reservation(known)),
        State::Held { .. } | State::Confirmed => Err(Error::ReservationExists(known.id)),
        State::Consumed | State::Released | State::Expired => {
            let state = known.state.name();
            Err(domain::stock::Refusal::Ended { id: known.id, step: "be taken again", state }.into())
        }
    }
}
