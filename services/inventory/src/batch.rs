//! The batch of one transaction: the reservations and positions it has locked, what the verbs decide about them, and
//! the events of that. Each verb adds its decision in its own file.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bus::{Event, Topic, inbox, outbox};
use contract::inventory::v1 as pb;
use db::{Part, Tx};
use domain::id::ReservationId;
use domain::stock::pool::Room;
use domain::stock::reservation::{Reservation, Shift, Step};
use domain::stock::{Claim, Key, Refusal, pool, shortages};
use jiff::Timestamp;
use prost::Message as _;
use service::Fault;

use crate::command::Cause;
use crate::error::Error;
use crate::ledger::Ledger;
use crate::relief::Short;
use crate::store::movements::By;
use crate::store::positions::Slot;
use crate::store::relief::Rest;
use crate::wire::ReservationEvent;
use crate::{store, wire};

/// What became of one command: the reservations that it meant, as they are after it.
pub(crate) type Outcome = Result<Vec<pb::Reservation>, Error>;

/// A reservation of the batch.
struct Record {
    reservation: Reservation,
    /// It has a row already.
    is_stored: bool,
    is_changed: bool,
    /// Lines whose quantities changed.
    lines: BTreeSet<usize>,
}

/// Everything that one transaction works on.
pub(crate) struct Batch {
    pub(crate) now: Timestamp,
    pub(crate) ledger: Ledger,
    records: HashMap<ReservationId, Record>,
    events: Vec<outbox::Traced>,
    /// Positions, by place, where fewer goods may be than are claimed: [`Batch::relieve`] sees to them.
    pub(crate) short: BTreeMap<usize, Short>,
    /// Those of them that were not done with.
    pub(crate) rest: Vec<Rest>,
}

impl Batch {
    /// A batch with what was locked.
    pub(crate) fn new(now: Timestamp, ledger: Ledger, known: HashMap<ReservationId, Reservation>) -> Self {
        let (records, events) = (HashMap::with_capacity(known.len()), Vec::new());
        let mut batch = Self { now, ledger, records, events, short: BTreeMap::new(), rest: Vec::new() };
        batch.know(known);
        batch
    }

    /// Adds reservations that were locked.
    pub(crate) fn know(&mut self, known: HashMap<ReservationId, Reservation>) {
        let record = |(id, reservation)| {
            (id, Record { reservation, is_stored: true, is_changed: false, lines: BTreeSet::new() })
        };
        self.records.extend(known.into_iter().map(record));
    }

    /// The reservations as they are now.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Reservation> {
        self.records.values().map(|record| &record.reservation)
    }

    /// Notes that the work of a reservation has begun: nobody hears of it.
    pub(crate) fn start(&mut self, id: ReservationId) {
        if let Some(record) = self.records.get_mut(&id).filter(|record| !record.reservation.is_started) {
            record.reservation.is_started = true;
            record.is_changed = true;
        }
    }

    /// The reservation as it is now.
    pub(crate) fn find(&self, id: ReservationId) -> Option<&Reservation> {
        self.records.get(&id).map(|record| &record.reservation)
    }

    /// The same, when it has to be there.
    pub(crate) fn get(&self, id: ReservationId) -> Result<Reservation, Error> {
        self.find(id).cloned().ok_or(Error::ReservationNotFound(id))
    }

    /// Sees whether the positions can give what these reservations take, all or nothing: claims of one position add up. What
    /// is given back in the same step counts as free.
    pub(crate) fn grant(&self, taking: &[Taking<'_>], giving: &[(Reservation, Step)]) -> Result<(), Error> {
        let mut claims = Vec::with_capacity(taking.iter().map(|(_, shifts)| shifts.len()).sum());
        for (reservation, shifts) in taking {
            for shift in *shifts {
                let key = &reservation.lines[shift.line].position;
                match self.ledger.place(key) {
                    Some(position) => {
                        let channel = reservation.channel.as_deref();
                        claims.push(Claim { position, quantity: shift.reserved, channel });
                    }
                    None => return Err(no_stock(taking, key, None, 0)),
                }
            }
        }
        let freed = self.freed(giving)?;
        let room = |place| {
            let slot = self.ledger.slot(place);
            let Some(freed) = freed.get(&place) else { return slot.room() };
            let (mut position, mut pools) = (slot.position, slot.pools.clone());
            for (channel, units) in freed {
                position.reserved -= units;
                pool::count(&mut pools, *channel, -units);
            }
            Room { atp: position.atp(), pools }
        };
        let short = shortages(&claims, room);
        let Some(first) = short.first() else { return Ok(()) };
        let key = &self.ledger.slot(first.position).key;
        Err(no_stock(taking, key, first.channel, first.available))
    }

    /// The units that these steps give back, by position, each with the channel that had claimed them.
    fn freed<'a>(&self, giving: &'a [(Reservation, Step)]) -> Result<HashMap<usize, Vec<Freed<'a>>>, Error> {
        let mut freed: HashMap<usize, Vec<Freed<'a>>> = HashMap::new();
        for (reservation, step) in giving {
            let Step::Changed(shifts) = step else { continue };
            for shift in shifts {
                let place = self.ledger.place(&reservation.lines[shift.line].position).ok_or(Fault::Raced)?;
                freed.entry(place).or_default().push((reservation.channel.as_deref(), -shift.reserved));
            }
        }
        Ok(freed)
    }

    /// Carries out what a verb decided: positions, ledger, the new state and its event. `next` is the reservation
    /// after the step.
    pub(crate) fn carry(
        &mut self,
        next: Reservation,
        step: Step,
        cause: &Cause,
        event: ReservationEvent<'_>,
    ) -> Result<pb::Reservation, Error> {
        let mut shown = wire::reservation(&next);
        let Step::Changed(shifts) = step else { return Ok(shown) };
        let reason = match &event {
            ReservationEvent::Released { reason } => reason,
            ReservationEvent::GivenUp(given_up) => given_up.reason,
            ReservationEvent::Held
            | ReservationEvent::Confirmed(_)
            | ReservationEvent::Refused { .. }
            | ReservationEvent::Extended
            | ReservationEvent::Settled { .. }
            | ReservationEvent::Doubtful { .. }
            | ReservationEvent::Expired => "",
        };
        let by = By { actor: &cause.actor, reason, reference: &shown.reservation_id, at: self.now };
        for shift in &shifts {
            let place = self.ledger.place(&next.lines[shift.line].position).ok_or(Fault::Raced)?;
            // the claims are the sum of the lines, so a shift that does not fit means broken rows
            self.ledger.shift(place, shift, next.channel.as_deref(), by).map_err(Fault::unreadable)?;
            if shift.on_hand < shift.reserved {
                self.falls_short(place, cause);
            }
        }
        let is_partial = matches!(
            event,
            ReservationEvent::Settled { .. }
                | ReservationEvent::GivenUp(_)
                | ReservationEvent::Doubtful { .. }
        );
        if is_partial {
            let is_changed = |index: &usize| shifts.iter().any(|shift| shift.line == *index);
            let mut index = 0..shown.lines.len();
            shown.lines.retain(|_| index.next().is_some_and(|index| is_changed(&index)));
        }
        let (event_type, body) = event.body(shown);
        let message = pb::InventoryEvent { body: Some(body) };
        let event = Event {
            topic: Topic::Inventory,
            aggregate_type: "reservation",
            aggregate: next.id.uuid(),
            sequence: next.version,
            event_type,
            payload: message.encode_to_vec(),
            occurred_at: self.now,
            actor: cause.actor.as_ref().to_owned(),
        };
        self.events.push((event, cause.trace.clone()));
        shown = message.body.and_then(wire::reservation_of).unwrap_or_default();
        let fresh = || Record {
            reservation: next.clone(),
            is_stored: false,
            is_changed: false,
            lines: BTreeSet::new(),
        };
        let record = self.records.entry(next.id).or_insert_with(fresh);
        record.reservation = next;
        record.is_changed = true;
        record.lines.extend(shifts.iter().map(|shift| shift.line));
        Ok(shown)
    }

    /// The same for the answers to requests.
    pub(crate) async fn write_answers(self, tx: &mut Tx, answers: Vec<inbox::Record>) -> Result<(), Error> {
        let count = answers.len() as u64;
        let now = self.now;
        self.write(tx, (inbox::record_part(answers, now), count), None).await.map(drop)
    }

    /// Writes all changes with `first`, which must insert that number of rows: everything in one go. [`Fault::Raced`] when a
    /// request was answered, or a reservation made, by somebody else meanwhile. Answers the positions.
    pub(crate) async fn write(
        mut self,
        tx: &mut Tx,
        first: (Part, u64),
        trace: Option<String>,
    ) -> Result<Vec<Slot>, Error> {
        let mut fresh = Vec::new();
        let mut changed = Vec::new();
        let mut lines = Vec::new();
        for record in self.records.values().filter(|record| record.is_changed) {
            if record.is_stored {
                changed.push(&record.reservation);
                lines.extend(record.lines.iter().map(|index| (&record.reservation, *index)));
            } else {
                fresh.push(&record.reservation);
            }
        }
        fresh.sort_unstable_by_key(|reservation| reservation.id);
        let (first, count) = first;
        let wanted = [count, fresh.len() as u64];
        let mut parts = vec![first];
        parts.extend(store::reservations::insert(&fresh, self.now));
        parts.extend(store::reservations::update(&changed, &lines, self.now));
        let mut positions = Vec::new();
        parts.extend(self.ledger.parts(&mut positions));
        parts.push(store::relief::put(&self.rest, self.now));
        // the claims of many requests end up in one position: it has no trace of its own
        self.events.extend(positions.into_iter().map(|event| (event, trace.clone())));
        parts.extend(outbox::parts_traced(tx, &self.events)?);
        match tx.together(parts).await {
            Ok(written) if written.starts_with(&wanted) => Ok(self.ledger.into_slots()),
            // a duplicate: the first event of a reservation that somebody else has made
            Ok(_) | Err(db::Error::Duplicate(_)) => Err(Fault::Raced.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Units that are given back, and the channel that had claimed them.
type Freed<'a> = (Option<&'a str>, i64);

/// What a reservation takes from its positions.
pub(crate) type Taking<'a> = (&'a Reservation, &'a [Shift]);

/// The shifts of one position, each with the reservation it is of.
fn at<'a>(taking: &[Taking<'a>], key: &Key) -> impl Iterator<Item = (&'a Reservation, &'a Shift)> {
    let each =
        taking.iter().flat_map(|(reservation, shifts)| shifts.iter().map(move |shift| (*reservation, shift)));
    each.filter(move |(reservation, shift)| reservation.lines[shift.line].position == *key)
}

/// A position cannot give what is wanted of it by all of them, or by those of one channel; names the first line that wants it.
fn no_stock(taking: &[Taking<'_>], key: &Key, channel: Option<&str>, available: i64) -> Error {
    let is_meant = |reservation: &Reservation| channel.is_none() || reservation.channel.as_deref() == channel;
    let at = || at(taking, key).filter(|(reservation, _)| is_meant(reservation));
    let Some((first, shift)) = at().next() else { return Refusal::Empty.into() };
    Error::NoStock {
        reservation: first.id,
        line: first.lines[shift.line].line,
        sku: key.sku.clone(),
        node: key.node.clone(),
        wanted: at().fold(0, |sum, (_, shift)| sum.saturating_add(shift.reserved)),
        available,
    }
}
