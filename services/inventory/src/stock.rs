//! The core: many commands on reservations in one transaction.
//!
//! Positions are locked first, in one order, and everything is decided under those locks. So it is right with any
//! number of processes, and a hot SKU costs one row lock per batch instead of one per buyer. The queue, the
//! consumer and the timers all come through here.

use std::collections::{BTreeSet, HashMap};

use bus::inbox;
use contract::inventory::v1 as pb;
use db::Tx;
use domain::id::{ReservationId, Uuid};
use domain::policy::Book;
use domain::stock::Key;
use domain::stock::reservation::{Line, Reservation, State, Step};
use jiff::Timestamp;
use service::{Call, Fault, once};

use crate::batch::{Batch, Outcome};
use crate::catalogue::Catalogue;
use crate::command::{Act, Command, Confirm};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::{relief, store};

/// How much is looked up before deciding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Requests and reservations are assumed to be new; an insert that meets a row fails with [`Fault::Raced`].
    Optimistic,
    /// Everything is looked up, after the locks.
    Thorough,
}

/// Decides and writes `commands` in their order. The caller commits, and only then answers with the outcomes. A refusal is
/// an outcome; an error means that nothing of the batch may be committed.
pub(crate) async fn apply(
    tx: &mut Tx,
    catalogue: &Catalogue,
    book: &Book,
    commands: &[Command],
    now: Timestamp,
    mode: Mode,
) -> Result<Vec<Outcome>, Error> {
    let claims = catalogue.claims(tx, commands).await?;
    let is_new = |act: &Act| matches!(act, Act::Reserve { instead_of, .. } if instead_of.is_empty());
    let only_new = commands.iter().all(|command| is_new(&command.act));
    let ids = if only_new && mode == Mode::Optimistic { Vec::new() } else { ids(commands) };
    let seen = store::reservations::read(tx, &ids).await?;
    let keys = keys(commands, &claims, &seen, now);
    let ledger = Ledger::lock(tx, &keys, book, now).await?;
    let losers = relief::losers(tx, &ledger, commands, &seen).await?;
    let ids = if losers.ids.is_empty() { ids } else { together(ids, losers.ids) };
    let known = store::reservations::lock(tx, &ids).await?;
    let mut answered = Answered::look(tx, commands, mode).await?;

    let mut batch = Batch::new(now, ledger, known);
    let mut outcomes = Vec::with_capacity(commands.len());
    for (command, claims) in commands.iter().zip(claims) {
        let outcome = match answered.repeated(command) {
            Some(outcome) => outcome,
            None => batch.decide(command, claims),
        };
        if let Err(Error::Fault(
            fault @ (Fault::Raced | Fault::Unreadable(_) | Fault::Bus(_) | Fault::Db(_)),
        )) = outcome
        {
            return Err(fault.into());
        }
        answered.note(command, &outcome);
        outcomes.push(outcome);
    }
    batch.relieve(&losers.whole)?;
    if mode == Mode::Optimistic {
        verify_refusals(tx, commands, &outcomes).await?;
    }
    batch.write_answers(tx, answered.now.into_values().flatten().collect()).await?;
    Ok(outcomes)
}

/// A refusal is only true if the request was not answered before, and the reservation is not there. What was granted
/// needs no second look: its rows could not be inserted twice.
async fn verify_refusals(tx: &mut Tx, commands: &[Command], outcomes: &[Outcome]) -> Result<(), Error> {
    let refused =
        commands.iter().zip(outcomes).filter(|(_, outcome)| outcome.is_err()).map(|(command, _)| command);
    let mut keys = Vec::new();
    let mut ids = BTreeSet::new();
    for command in refused {
        keys.extend(command.request.as_ref().map(Call::request));
        if let Act::Reserve { claims, .. } = &command.act {
            ids.extend(claims.iter().map(|claim| claim.id));
        }
    }
    let saved = inbox::saved_many(tx, &keys).await?;
    if saved.iter().any(|saved| !matches!(saved, Ok(None))) {
        return Err(Fault::Raced.into());
    }
    let ids: Vec<ReservationId> = ids.into_iter().collect();
    if store::reservations::any(tx, &ids).await? { Err(Fault::Raced.into()) } else { Ok(()) }
}

impl Batch {
    fn decide(&mut self, command: &Command, lines: Result<Vec<Vec<Line>>, Error>) -> Outcome {
        let cause = &command.cause;
        let one = match &command.act {
            Act::Reserve { claims, ttl, instead_of } => {
                return self.reserve(claims, lines?, *ttl, instead_of, cause);
            }
            Act::Release { ids, reason, unless_confirmed } => {
                return self.release(ids, reason, *unless_confirmed, cause);
            }
            Act::Extend { ids, until } => return self.extend(ids, *until, cause),
            Act::Confirm(confirm) => {
                self.confirm(confirm, lines.map(|mut lines| lines.pop().unwrap_or_default()), cause)
            }
            Act::Expire { id } => self.expire(*id, cause),
            Act::Settle(settle) => self.settle(settle, cause),
        };
        one.map(|one| vec![one])
    }
}

fn ids(commands: &[Command]) -> Vec<ReservationId> {
    let ids = commands.iter().flat_map(|command| command.act.reservations()).map(|(id, _)| id);
    ids.collect::<BTreeSet<ReservationId>>().into_iter().collect()
}

fn together(ids: Vec<ReservationId>, mut others: BTreeSet<ReservationId>) -> Vec<ReservationId> {
    others.extend(ids);
    others.into_iter().collect()
}

/// The positions that the commands may change, in the order of the locks. What is seen here was read without locks;
/// should it turn out different under them, a position is missing and the batch is done again.
fn keys(
    commands: &[Command],
    claims: &[Result<Vec<Vec<Line>>, Error>],
    seen: &HashMap<ReservationId, Reservation>,
    now: Timestamp,
) -> Vec<Key> {
    let mut keys: Vec<&Key> = Vec::with_capacity(commands.len());
    for (command, claims) in commands.iter().zip(claims) {
        let claims = claims.as_deref().unwrap_or_default();
        for (index, (id, _)) in command.act.reservations().enumerate() {
            match seen.get(&id) {
                Some(reservation) if moves_stock(&command.act, reservation, now) => {
                    keys.extend(reservation.lines.iter().map(|line| &line.position));
                }
                Some(_) => {}
                None => keys.extend(claims.get(index).into_iter().flatten().map(|line| &line.position)),
            }
        }
    }
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter().cloned().collect()
}

/// Whether a command on a reservation as it was seen will touch its positions. Most events of a fulfillment order do
/// not, and neither does an ordinary confirmation: they need no locks on stock.
fn moves_stock(act: &Act, reservation: &Reservation, now: Timestamp) -> bool {
    let is_open = match reservation.state {
        State::Held { .. } | State::Confirmed => true,
        State::Consumed | State::Released | State::Expired => false,
    };
    match act {
        Act::Extend { .. } => false,
        Act::Reserve { instead_of, .. } => is_open && instead_of.contains(&reservation.id),
        Act::Confirm(Confirm { order, wants, .. }) => {
            let step = reservation.clone().confirm(*order, wants);
            reservation.state == State::Expired
                || matches!(step, Ok(Step::Changed(shifts)) if !shifts.is_empty())
        }
        Act::Release { .. } => is_open,
        Act::Expire { .. } => reservation.state.until().is_some_and(|until| until <= now),
        Act::Settle(settle) => {
            let step = reservation.clone().settle(settle.order, &settle.targets);
            !settle.findings.is_empty() || step != Ok(Step::Unchanged)
        }
    }
}

/// A scope, and the saved reply to the request of that scope.
type Before<'a> = (&'a str, Result<Vec<u8>, Error>);

/// The request ids of a batch: what was answered before, and what is answered now.
struct Answered<'a> {
    before: HashMap<Uuid, Vec<Before<'a>>>,
    now: HashMap<Uuid, Vec<inbox::Record>>,
}

impl<'a> Answered<'a> {
    async fn look(tx: &mut Tx, commands: &'a [Command], mode: Mode) -> Result<Self, Error> {
        let mut this = Self { before: HashMap::new(), now: HashMap::new() };
        if mode == Mode::Optimistic {
            return Ok(this);
        }
        let requests: Vec<_> = commands.iter().filter_map(|command| command.request.as_ref()).collect();
        let keys: Vec<inbox::Request> = requests.iter().map(|call| call.request()).collect();
        let saved = inbox::saved_many(tx, &keys).await?;
        for (request, saved) in requests.into_iter().zip(saved) {
            if let Some(saved) = saved.transpose() {
                let saved = saved.map_err(Error::from);
                this.before.entry(request.id).or_default().push((request.scope.as_str(), saved));
            }
        }
        Ok(this)
    }

    /// The outcome of a request that was answered before, in this batch or earlier.
    fn repeated(&self, command: &Command) -> Option<Outcome> {
        let request = command.request.as_ref()?;
        if let Some(before) = self.before.get(&request.id)
            && let Some((_, saved)) = before.iter().find(|(scope, _)| *scope == request.scope)
        {
            return Some(saved.clone().and_then(|reply| saved_answer(&reply)));
        }
        let earlier = self.now.get(&request.id)?.iter().find(|earlier| earlier.scope == request.scope)?;
        if earlier.body_hash == request.hash {
            Some(saved_answer(&earlier.reply))
        } else {
            Some(Err(Fault::RequestIdReused(request.id).into()))
        }
    }

    /// Keeps an answer; refusals are not kept, they may turn out otherwise the next time.
    fn note(&mut self, command: &Command, outcome: &Outcome) {
        let (Some(request), Ok(reservations)) = (&command.request, outcome) else { return };
        if self.repeated(command).is_some() {
            return;
        }
        // every response message of a reservation verb is { repeated reservations = 1 }
        let answer = pb::ReserveResponse { reservations: reservations.clone() };
        self.now.entry(request.id).or_default().push(request.record(&answer));
    }
}

fn saved_answer(reply: &[u8]) -> Outcome {
    let reply: pb::ReserveResponse = once::reply(reply)?;
    Ok(reply.reservations)
}
