//! Relief: fewer goods are at a position than were claimed, and claims are given up in the transaction of the fact that says
//! so: of a feed, a count, staff, or a store that found its shelf empty.
//!
//! Who loses is decided by [`domain::stock::relief`]. A claim gives up what it has of this position alone; what becomes of
//! the rest of it is up to its owner, who hears of it. A position that is found empty loses all claims whose work has not
//! begun; those that have are doubtful, and their stores hear of it. The same where more is claimed than is there and only such
//! claims are left. Once the position is counted and covers its claims, the stores hear that too.
//!
//! No index finds the claims on a position, since it would cost every reservation that is taken: the ledger names them. So a
//! transaction reads and gives up a limited number, and leaves a note in `relief_due` for the timer, which goes on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use db::Tx;
use domain::id::ReservationId;
use domain::stock::Key;
use domain::stock::relief::{Candidate, Class, choose};
use domain::stock::reservation::{Reservation, Shift, Step};
use jiff::Timestamp;
use service::once;

use crate::Inventory;
use crate::batch::Batch;
use crate::command::{Act, Cause, Command, Found, Settle};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::store;
use crate::store::positions::Slot;
use crate::store::relief::Rest;
use crate::wire::{GivenUp, ReservationEvent};

/// Why a position is blocked, and its claims are given up, when its shelf is empty.
pub(crate) const NOT_FOUND: &str = "NOT_FOUND";
/// Why claims are given up that are too many.
const OVERCLAIMED: &str = "OVERCLAIMED";

/// Reservations that one transaction changes for want of goods.
const MOST: usize = 500;
/// Reservations that one transaction reads to choose among them.
const MOST_READ: usize = 5_000;
/// Positions that one transaction sees to.
const MOST_POSITIONS: usize = 50;
/// Rows of the ledger that are read for one position, and how many at a time.
const WINDOW: i64 = 20_000;
const PAGE: i64 = 500;

/// Why goods are short at a position.
#[derive(Debug, Clone)]
pub(crate) struct Short {
    /// Its shelf was found empty.
    is_empty: bool,
    /// Whose work found it empty: what is left of theirs is up to them.
    finders: BTreeSet<ReservationId>,
    cause: Cause,
}

impl Short {
    fn new(is_empty: bool, cause: &Cause) -> Self {
        Self { is_empty, finders: BTreeSet::new(), cause: cause.clone() }
    }
}

impl Batch {
    /// A step has left less at a position than is claimed.
    pub(crate) fn falls_short(&mut self, place: usize, cause: &Cause) {
        let position = self.ledger.slot(place).position;
        if position.overclaim() > 0 && position.reserved > 0 {
            self.short.entry(place).or_insert_with(|| Short::new(false, cause));
        }
    }

    /// The work of a reservation has found the shelf of a position empty.
    pub(crate) fn is_empty(&mut self, place: usize, finder: ReservationId, cause: &Cause) {
        let short = self.short.entry(place).or_insert_with(|| Short::new(true, cause));
        short.is_empty = true;
        short.finders.insert(finder);
    }

    /// Gives up claims where goods are short, of the reservations that are locked. Positions that are not done with are
    /// noted, to be looked at again.
    pub(crate) fn relieve(&mut self, whole: &BTreeSet<usize>) -> Result<(), Error> {
        let mut losers = BTreeSet::new();
        for (place, short) in std::mem::take(&mut self.short) {
            let is_whole = whole.contains(&place);
            if !self.relieve_one(place, &short, is_whole, &mut losers)? && !is_whole {
                let key = self.ledger.slot(place).key.clone();
                self.rest.push(Rest { key, is_blocked: short.is_empty, before: None });
            }
        }
        Ok(())
    }

    /// True: nothing is short any more. `is_whole`: all that may lose are locked, so nobody else can lose anything.
    fn relieve_one(
        &mut self,
        place: usize,
        short: &Short,
        is_whole: bool,
        losers: &mut BTreeSet<ReservationId>,
    ) -> Result<bool, Error> {
        let slot = self.ledger.slot(place);
        let (key, position) = (slot.key.clone(), slot.position);
        let mut claims = self.claims_on(&key, losers);
        claims.retain(|(claim, _)| !short.finders.contains(&claim.id));
        let candidates: Vec<Candidate> = claims.iter().map(|(candidate, _)| *candidate).collect();
        let missing = if short.is_empty { i64::MAX } else { position.overclaim() };
        let mut lost: Vec<(ReservationId, Vec<(usize, i64)>)> = Vec::new();
        for (index, pieces) in choose(&candidates, missing) {
            let (Candidate { id, .. }, line) = claims[index];
            match lost.iter_mut().find(|(of, _)| *of == id) {
                Some((_, lines)) => lines.push((line, pieces)),
                None => lost.push((id, vec![(line, pieces)])),
            }
        }
        for (id, lines) in lost {
            losers.insert(id);
            self.lose(id, &lines, &key, short)?;
        }
        let after = self.ledger.slot(place).position;
        if (short.is_empty || after.overclaim() > 0) && is_whole {
            self.doubt_started(&claims, &key, false, &short.cause)?;
        }
        Ok(after.reserved == 0 || (!short.is_empty && after.overclaim() == 0))
    }

    /// The claims on a position of the reservations that are locked, each with its line.
    fn claims_on(&self, key: &Key, losers: &BTreeSet<ReservationId>) -> Vec<(Candidate, usize)> {
        let mut claims = Vec::new();
        for reservation in self.all() {
            for (index, claim) in claims_of(reservation, key) {
                let is_loser = claim.class != Class::Started && losers.contains(&reservation.id);
                let class = if is_loser { Class::Broken } else { claim.class };
                claims.push((Candidate { class, ..claim }, index));
            }
        }
        claims
    }

    fn lose(
        &mut self,
        id: ReservationId,
        lost: &[(usize, i64)],
        key: &Key,
        short: &Short,
    ) -> Result<(), Error> {
        let reason = if short.is_empty { NOT_FOUND } else { OVERCLAIMED };
        let mut next = self.get(id)?;
        let units = |(index, pieces): &(usize, i64)| {
            let line = &next.lines[*index];
            (line.line, pieces / line.per_unit)
        };
        let lines = lost.iter().map(units).collect();
        let step = next.lose(lost);
        let event = GivenUp { order: next.order, reason, lines, sku: &key.sku };
        let order = next.order.map(tracing::field::display);
        tracing::warn!(
            reservation_id = %id, order_id = order, node_id = %key.node, sku = %key.sku, reason,
            "a claim was given up"
        );
        metrics::counter!("entrepot_inventory_claims_given_up_total", "reason" => reason).increment(1);
        self.carry(next, step, &short.cause, ReservationEvent::GivenUp(event)).map(drop)
    }

    /// Positions have been counted and cover their claims: the goods that are being picked there are no longer doubtful.
    pub(crate) fn trust(&mut self, places: &[usize], cause: &Cause) -> Result<(), Error> {
        for place in places {
            let key = self.ledger.slot(*place).key.clone();
            let claims = self.claims_on(&key, &BTreeSet::new());
            self.doubt_started(&claims, &key, true, cause)?;
        }
        Ok(())
    }

    /// Those whose work has begun hear that the goods of a position are doubtful, or not any more.
    fn doubt_started(
        &mut self,
        claims: &[(Candidate, usize)],
        key: &Key,
        is_over: bool,
        cause: &Cause,
    ) -> Result<(), Error> {
        let started = claims.iter().filter(|(claim, _)| claim.class == Class::Started);
        for id in started.map(|(claim, _)| claim.id).collect::<BTreeSet<_>>() {
            let mut next = self.get(id)?;
            let Some(order) = next.order else { continue };
            let step = next.doubt();
            self.carry(next, step, cause, ReservationEvent::Doubtful { order, sku: &key.sku, is_over })?;
        }
        Ok(())
    }
}

/// What a reservation claims of a position, by the index of the line.
fn claims_of<'a>(
    reservation: &'a Reservation,
    key: &'a Key,
) -> impl Iterator<Item = (usize, Candidate)> + use<'a> {
    let lines = reservation.lines.iter().enumerate();
    let holding = lines.filter(|(_, line)| line.held > 0 && line.position == *key);
    holding.map(|(index, _)| (index, Candidate::of(reservation, index)))
}

/// Who may lose at a position.
struct Claimants {
    /// To be locked: those that lose first, and where that is not enough also those whose work has begun.
    ids: Vec<ReservationId>,
    /// They are all of those that were read.
    is_whole: bool,
    /// There may be more of them in the rows of the ledger before this one.
    rest: Option<i64>,
}

/// Reads who has claims on a position that is locked, the newest first: in the rows of the ledger before number `before`.
/// `missing` pieces are short; none: its shelf is empty.
async fn claimants(
    tx: &mut Tx,
    slot: &Slot,
    before: Option<i64>,
    missing: Option<i64>,
) -> Result<Claimants, Error> {
    let most = if missing.is_none() { MOST } else { MOST_READ };
    let Claims { candidates, left, end } = read_claims(tx, slot, before, most).await?;
    let mut ids = Vec::new();
    let losers = choose(&candidates, missing.unwrap_or(i64::MAX));
    let freed: i64 = losers.iter().map(|(_, pieces)| pieces).sum();
    let is_enough = missing.is_some_and(|missing| freed >= missing);
    let started = candidates.iter().filter(|claim| !is_enough && claim.class == Class::Started);
    for id in losers.iter().map(|(index, _)| candidates[*index].id).chain(started.map(|claim| claim.id)) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    let may_lose = candidates.iter().filter(|claim| claim.class != Class::Started).count();
    let is_whole = ids.len() <= MOST && losers.len() == may_lose;
    ids.truncate(MOST);
    Ok(Claimants { ids, is_whole, rest: (left > 0 && end > 1).then_some(end) })
}

/// Claims on a position, as its ledger names them.
struct Claims {
    candidates: Vec<Candidate>,
    /// Pieces that are claimed by others.
    left: i64,
    /// Rows of the ledger before this one were not read.
    end: i64,
}

/// Reads claims on a position, the newest first, until there are `most`.
async fn read_claims(tx: &mut Tx, slot: &Slot, before: Option<i64>, most: usize) -> Result<Claims, Error> {
    let mut end = before.unwrap_or(slot.last_movement.saturating_add(1));
    let least = end.saturating_sub(WINDOW).max(1);
    let mut left = slot.position.reserved;
    let (mut candidates, mut seen) = (Vec::new(), BTreeSet::new());
    while left > 0 && end > least && candidates.len() < most {
        let first = end.saturating_sub(PAGE).max(least);
        let named = store::movements::claimants(tx, &slot.key, first, end).await?;
        let ids: Vec<ReservationId> = named.into_iter().filter(|id| seen.insert(*id)).collect();
        for reservation in store::reservations::holding(tx, &ids, &slot.key).await?.values() {
            candidates.extend(claims_of(reservation, &slot.key).map(|(_, claim)| claim));
        }
        left = slot.position.reserved - candidates.iter().map(|claim| claim.pieces).sum::<i64>();
        end = first;
    }
    Ok(Claims { candidates, left, end })
}

/// Those who may lose at several positions.
#[derive(Default)]
pub(crate) struct Losers {
    pub(crate) ids: BTreeSet<ReservationId>,
    /// The places of the positions at which nobody else can lose anything.
    pub(crate) whole: BTreeSet<usize>,
}

impl Losers {
    /// Adds those of a position, as long as there is room for all of them.
    async fn add(
        &mut self,
        tx: &mut Tx,
        ledger: &Ledger,
        place: usize,
        missing: Option<i64>,
    ) -> Result<(), Error> {
        let slot = ledger.slot(place);
        if slot.position.reserved == 0 || self.ids.len() >= MOST {
            return Ok(());
        }
        let Claimants { ids, is_whole, rest } = claimants(tx, slot, None, missing).await?;
        let room = MOST - self.ids.len();
        if is_whole && rest.is_none() && ids.len() <= room {
            self.whole.insert(place);
        }
        self.ids.extend(ids.into_iter().take(room));
        Ok(())
    }
}

/// Who may lose by these commands: to be locked with the reservations that the commands are about, in one order.
pub(crate) async fn losers(
    tx: &mut Tx,
    ledger: &Ledger,
    commands: &[Command],
    seen: &HashMap<ReservationId, Reservation>,
) -> Result<Losers, Error> {
    let mut suspects: BTreeMap<usize, Suspect> = BTreeMap::new();
    for command in commands {
        if let Act::Settle(settle) = &command.act
            && let Some(reservation) = seen.get(&settle.id)
        {
            suspect(&mut suspects, settle, reservation, ledger);
        }
    }
    let mut losers = Losers::default();
    let short = suspects.into_iter().filter_map(|(place, suspect)| {
        let position = ledger.slot(place).position;
        let missing = position.reserved - position.on_hand - suspect.net;
        let is_short = suspect.is_empty || (suspect.net < 0 && missing > 0);
        is_short.then_some((place, (!suspect.is_empty).then_some(missing)))
    });
    for (place, missing) in short.take(MOST_POSITIONS).collect::<Vec<_>>() {
        losers.add(tx, ledger, place, missing).await?;
    }
    Ok(losers)
}

/// What the commands of a batch may do to a position.
#[derive(Default)]
struct Suspect {
    is_empty: bool,
    /// How much the goods that no claim has become more; below 0: less.
    net: i64,
}

fn suspect(
    suspects: &mut BTreeMap<usize, Suspect>,
    settle: &Settle,
    reservation: &Reservation,
    ledger: &Ledger,
) {
    let mut next = reservation.clone();
    if let Ok(Step::Changed(shifts)) = next.settle(settle.order, &settle.targets) {
        for Shift { line, on_hand, reserved, .. } in shifts {
            if let Some(place) = ledger.place(&reservation.lines[line].position) {
                suspects.entry(place).or_default().net += on_hand - reserved;
            }
        }
    }
    for finding in &settle.findings {
        for (_, line, _) in finding.claims(reservation) {
            let Some(place) = ledger.place(&line.position) else { continue };
            let suspect = suspects.entry(place).or_default();
            match finding.what {
                Found::Missing => suspect.is_empty = true,
                Found::Unfit(units, _) => {
                    suspect.net -= units.map_or(line.held, |units| units.saturating_mul(line.per_unit));
                }
                Found::Unsure(_) => {}
            }
        }
    }
}

/// Locks who loses at the positions that are short, and whose work has begun at those that are `trusted` again. Of the latter
/// a transaction reads a limited number: what others see as doubtful stays so until it is picked.
pub(crate) async fn lock(
    tx: &mut Tx,
    batch: &mut Batch,
    trusted: &[usize],
) -> Result<BTreeSet<usize>, Error> {
    let mut losers = Losers::default();
    for (place, short) in batch.short.iter().take(MOST_POSITIONS) {
        let missing = batch.ledger.slot(*place).position.overclaim();
        losers.add(tx, &batch.ledger, *place, (!short.is_empty).then_some(missing)).await?;
    }
    let mut ids = losers.ids;
    for place in trusted.iter().take(MOST_POSITIONS) {
        let found = read_claims(tx, batch.ledger.slot(*place), None, MOST).await?.candidates;
        let started = found.iter().filter(|claim| claim.class == Class::Started).map(|claim| claim.id);
        ids.extend(started.take(MOST));
    }
    let ids: Vec<ReservationId> = ids.into_iter().collect();
    if !ids.is_empty() {
        let known = store::reservations::lock(tx, &ids).await?;
        batch.know(known);
    }
    Ok(losers.whole)
}

impl Inventory {
    /// Goes on where the transactions of facts stopped, up to `most` times; answers how often.
    pub(crate) async fn relieve_due(&self, now: Timestamp, most: usize) -> Result<usize, Error> {
        let cause = Cause::now("service/inventory");
        for done in 0..most {
            let Some(key) = store::relief::next(&mut self.db.read().await?, now).await? else {
                return Ok(done);
            };
            db::retry(once::ATTEMPTS, Error::is_retry, || self.relieve_more(&key, &cause, now)).await?;
        }
        Ok(most)
    }

    async fn relieve_more(&self, key: &Key, cause: &Cause, now: Timestamp) -> Result<(), Error> {
        let mut tx = self.db.begin().await?;
        let ledger = Ledger::lock(&mut tx, std::slice::from_ref(key), &self.policies.book(), now).await?;
        let rest = store::relief::take(&mut tx, key).await?;
        if let (Some(rest), Some(place)) = (rest, ledger.place(key)) {
            let slot = ledger.slot(place);
            // counted meanwhile: only what is too much is given up
            let is_empty = rest.is_blocked && slot.position.count_blocked;
            let missing = (!is_empty).then_some(slot.position.overclaim());
            let mut found = claimants(&mut tx, slot, rest.before, missing).await?;
            found.ids.sort_unstable();
            let known = store::reservations::lock(&mut tx, &found.ids).await?;
            let mut batch = Batch::new(now, ledger, known);
            let short = Short::new(is_empty, cause);
            let is_over = batch.relieve_one(place, &short, found.is_whole, &mut BTreeSet::new())?;
            if !is_over && (!found.is_whole || found.rest.is_some()) {
                let before = if found.is_whole { found.rest } else { rest.before };
                batch.rest.push(Rest { before, ..rest });
            }
            batch.write_answers(&mut tx, Vec::new()).await?;
        }
        Ok(tx.commit().await?)
    }
}
