//! Needs as time and people move them: opened by a report, given new legs, asked about, dropped.
//!
//! A need that is open refunds nothing: its pieces are still to be delivered. Those that are dropped are cancelled, and
//! what they cost goes back as for any cancel.

use std::collections::BTreeMap;

use super::need::{MAX_NEEDS, MAX_PLACES, MAX_WAIT_MS};
use super::seek::later;
use super::spread::LegParts;
use super::{
    Block, Changed, Choice, Event, How, Leg, LegLine, Missing, Need, OptionKind, Order, Policy, Question,
    Quote, Refusal, Status,
};
use crate::id::{FulfillmentId, LineNo, NeedId};
use crate::time::{Timestamp, after_ms};

impl Order {
    /// The need of this id.
    pub fn need(&self, id: NeedId) -> Option<&Need> {
        self.needs.iter().find(|need| need.id == id)
    }

    /// The needs with open pieces, by the time at which they are looked for. None while the order is held back or over:
    /// their clocks stand still then.
    pub fn seeking(&self) -> Vec<&Need> {
        if self.needs.is_empty() || !self.is_released() || self.status().is_over() {
            return Vec::new();
        }
        let mut open: Vec<&Need> = self.needs.iter().filter(|need| need.is_open()).collect();
        open.sort_by_key(|need| (need.seek_at, need.no));
        open
    }

    /// When pieces of a need are looked for next.
    pub fn seek_at(&self) -> Option<Timestamp> {
        self.seeking().into_iter().filter_map(|need| need.seek_at).min()
    }

    /// When a customer who was asked has not answered in time.
    pub fn silent_at(&self) -> Option<Timestamp> {
        self.seeking().into_iter().filter_map(|need| need.asked.map(|asked| asked.resolve_by)).min()
    }

    /// How many nodes had the pieces of a leg, its own included.
    pub fn offer_number(&self, leg: &Leg) -> i64 {
        let Some(need) = leg.need.and_then(|no| self.need_no(no)) else { return 1 };
        need.offers + i64::from(self.tries_before(need).iter().all(|before| before.node != leg.node))
    }

    /// Pieces of a need are looked for at another time; nothing happens when none is open. No event: nothing changed for
    /// anyone else.
    pub fn seek_again(&mut self, need: NeedId, at: Timestamp) {
        if let Ok(open) = self.open_at(need) {
            self.needs[open].seek_at = Some(at);
        }
    }

    /// A round of seeking found nothing, and the customer is asked already or can't be: the next round has other ids. No
    /// event: nothing changed for anyone else.
    pub fn sought(&mut self, need: NeedId, policy: &Policy, now: Timestamp) {
        if let Ok(open) = self.open_at(need) {
            let need = &mut self.needs[open];
            need.tries += 1;
            need.seek_at = Some(after_ms(now, retry_ms(need.tries, policy)));
        }
    }

    /// Gives the open pieces of a need, all of them, to new legs whose stock is held. Refused: `UnknownNeed`, `NeedOver`,
    /// `Blocked`, and `OtherPieces` when the legs have other pieces or another group.
    pub fn reroute(mut self, need: NeedId, legs: Vec<Leg>, now: Timestamp) -> Result<Changed, Refusal> {
        let at = self.open_at(need)?;
        self.check_released("reroute")?;
        let open = self.needs[at].open();
        let group = self.needs[at].group;
        let mut parts: BTreeMap<LineNo, i64> = BTreeMap::new();
        for line in legs.iter().flat_map(|leg| &leg.lines) {
            *parts.entry(line.line).or_default() += line.units.quantity;
        }
        let are_fresh = legs.iter().all(|leg| leg.group == group && leg.lines.iter().all(is_fresh));
        if !are_fresh || !parts.into_iter().eq(open.iter().copied()) {
            return Err(Refusal::OtherPieces { need });
        }
        let dues = self.dues();
        self.needs[at].source();
        let need = self.needs[at].clone();
        let ids = legs.iter().map(|leg| leg.id).collect();
        let new = |leg| Leg { need: Some(need.no), released: Some(now), ..leg };
        self.push_legs(legs.into_iter().map(new));
        let mut events = vec![Event::Rerouted { let_go: let_go(&need, open), need, legs: ids }];
        events.extend(self.due_changed(&dues, &events));
        Ok(self.changed(events, now))
    }

    /// Asks the customer what is to be done about the open pieces of a need: `places` are where they could be ready, best
    /// first, of which the first [`MAX_PLACES`] count; waiting and dropping are added. It is looked for again later, and
    /// when a place that is offered ends before that, then. A customer who was asked already is asked again only when
    /// other places are offered, or one cannot be had any more as it was quoted; without events there is nothing new,
    /// and only the need's `tries` and `seek_at` changed.
    /// Refused: `UnknownNeed`, `NeedOver`, `Blocked`.
    pub fn ask(
        mut self,
        need: NeedId,
        places: Vec<(OptionKind, Quote)>,
        policy: &Policy,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        let at = self.open_at(need)?;
        self.check_released("ask")?;
        self.sought(need, policy, now);
        let places: Vec<_> = places.into_iter().take(MAX_PLACES).collect();
        let known = &self.needs[at];
        let is_known = known.asked.is_some() && is_same(&known.options, &places, now);
        if is_known {
            self.seek_when_one_ends(at, policy, now);
            return Ok(Changed { order: self, events: Vec::new() });
        }
        let question = known.asked.unwrap_or(Question {
            since: now,
            resolve_by: self.answer_by(known, policy, now),
            policy: policy.need_answer_version,
        });
        let gone = if known.asked.is_some() { Vec::new() } else { known.open() };
        self.offer(at, question, places);
        self.seek_when_one_ends(at, policy, now);
        let need = self.needs[at].clone();
        let events = vec![Event::OptionsOffered { let_go: let_go(&need, gone), need }];
        Ok(self.changed(events, now))
    }

    /// The customer takes the rest without the open pieces of a need: they are cancelled and paid back. Refused:
    /// `UnknownNeed`, `NeedOver`.
    pub fn choose_drop(mut self, need: NeedId, now: Timestamp) -> Result<Changed, Refusal> {
        let at = self.open_at(need)?;
        let events = self.drop_all(&[at], How::Chosen, now);
        Ok(self.changed(events, now))
    }

    /// The customer waits: the time for an answer starts again, at most until 30 days after the need was opened, and what
    /// was offered is offered again. Refused: `UnknownNeed`, `NeedOver`, and `NotDue` when the customer is
    /// not asked.
    pub fn choose_wait(mut self, need: NeedId, policy: &Policy, now: Timestamp) -> Result<Changed, Refusal> {
        let at = self.open_at(need)?;
        let known = &self.needs[at];
        let asked = known.asked.ok_or(Refusal::NotDue)?;
        let last = after_ms(known.opened, MAX_WAIT_MS);
        let resolve_by = self.answer_by(known, policy, now).min(last).max(asked.resolve_by);
        let places = known.options.iter().filter_map(|way| Some((way.kind, way.place.clone()?))).collect();
        let longer = Question { resolve_by, policy: policy.need_answer_version, ..asked };
        self.offer(at, if resolve_by > asked.resolve_by { longer } else { asked }, places);
        let need = self.needs[at].clone();
        let events = vec![Event::OptionsOffered { need, let_go: LegParts::new() }];
        Ok(self.changed(events, now))
    }

    /// Drops the open pieces of every need whose customer has not answered in time. Refused: `NotDue`.
    pub fn stay_silent(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        if self.silent_at().is_none_or(|at| now < at) {
            return Err(Refusal::NotDue);
        }
        let is_due = |need: &Need| need.asked.is_some_and(|asked| asked.resolve_by <= now);
        let due: Vec<usize> = (0..self.needs.len()).filter(|at| is_due(&self.needs[*at])).collect();
        let events = self.drop_all(&due, How::NoAnswer, now);
        Ok(self.changed(events, now))
    }
}

/// What a node failed.
pub(super) struct Failed {
    /// The need that has it, by place in the list.
    pub(super) need: usize,
    /// The pieces that are new, per line.
    pub(super) new: Vec<(LineNo, i64)>,
}

impl Order {
    /// Where the need is in the list, if pieces of it are open.
    fn open_at(&self, id: NeedId) -> Result<usize, Refusal> {
        let at = self.needs.iter().position(|need| need.id == id);
        let at = at.ok_or(Refusal::UnknownNeed { need: id })?;
        let need = &self.needs[at];
        if need.is_open() { Ok(at) } else { Err(Refusal::NeedOver { need: id, state: need.state() }) }
    }

    fn check_released(&self, step: &'static str) -> Result<(), Refusal> {
        let block = self.blocks.iter().find(|block| block.holds_back());
        block.map_or(Ok(()), |block| Err(Refusal::Blocked { step, block: *block }))
    }

    /// When a customer who is asked now must have answered.
    fn answer_by(&self, need: &Need, policy: &Policy, now: Timestamp) -> Timestamp {
        match (policy.need_answer_ms, self.method_of(need)) {
            (Some(ms), _) => after_ms(now, ms),
            (None, Some(method)) => later(now, method.rules().answer),
            (None, None) => now,
        }
    }

    /// The next round comes no later than a place that is offered ends, though never sooner than after the shortest wait
    /// between rounds.
    fn seek_when_one_ends(&mut self, at: usize, policy: &Policy, now: Timestamp) {
        let need = &mut self.needs[at];
        let ends = need.options.iter().filter(|way| way.place.is_some()).map(|way| way.valid_until).min();
        if let (Some(next), Some(ends)) = (need.seek_at, ends) {
            need.seek_at = Some(next.min(ends.max(after_ms(now, retry_ms(1, policy)))));
        }
    }

    /// Offers places, waiting and dropping.
    fn offer(&mut self, at: usize, question: Question, places: Vec<(OptionKind, Quote)>) {
        let need = &mut self.needs[at];
        need.asks += 1;
        let places = places.into_iter().map(|(kind, place)| (kind, Some(place)));
        let ways = places.chain([(OptionKind::Wait, None), (OptionKind::Drop, None)]);
        let option = |(kind, place): (OptionKind, Option<Quote>)| {
            let ends = place.as_ref().map(Quote::latest);
            Choice {
                id: need.option_id(kind, place.as_ref()),
                kind,
                valid_until: ends.map_or(question.resolve_by, |ends| ends.min(question.resolve_by)),
                place,
            }
        };
        need.options = ways.map(option).collect();
        need.asked = Some(question);
    }

    /// The order is blocked for want of stock while a customer is asked about open pieces, and while the hold of an unpaid
    /// order is lost. A change ends with this; nothing in it reads the block.
    pub(super) fn heed_stock(&mut self) {
        let is_asked = self.needs.iter().any(|need| need.asked.is_some());
        if is_asked || self.has_lost_hold() {
            self.blocks.insert(Block::Stock);
        } else {
            self.blocks.remove(&Block::Stock);
        }
    }

    /// What a leg has failed and no need has yet becomes a need, or joins the newest of the leg that nobody has looked for
    /// yet. None: nothing new failed.
    pub(super) fn open_need(
        &mut self,
        leg: FulfillmentId,
        reason: &str,
        now: Timestamp,
    ) -> Result<Option<Failed>, Refusal> {
        let Some(failed) = self.leg(leg) else { return Ok(None) };
        let needs = || self.needs.iter().filter(|need| need.leg == Some(leg));
        let mut new = Vec::new();
        for line in &failed.lines {
            let had = |need: &Need| need.line(line.line).map_or(0, |line| line.quantity);
            let more = line.units.failed() - needs().map(had).sum::<i64>();
            if more < 0 {
                return Err(Refusal::BadSnapshot { line: line.line });
            }
            new.extend((more > 0).then_some((line.line, more)));
        }
        if new.is_empty() {
            return Ok(None);
        }
        let (group, offers) = (failed.group, self.offer_number(failed));
        let is_full = self.needs.len() >= MAX_NEEDS;
        let may_join = |need: &Need| need.is_open() && (is_full || need.tries == 0 && need.asked.is_none());
        let newest = self.needs.iter().rposition(|need| need.leg == Some(leg));
        if let Some(at) = newest.filter(|at| may_join(&self.needs[*at])) {
            self.needs[at].add(&new);
            return Ok(Some(Failed { need: at, new }));
        }
        let need = self.next_need(Some(leg), group, reason, now);
        self.needs.push(Need { offers, ..need });
        let at = self.needs.len() - 1;
        self.needs[at].add(&new);
        Ok(Some(Failed { need: at, new }))
    }

    /// Pieces that wait for a hold become needs, one for each group: they are paid for, and no leg has them. Their order is
    /// not lapsed any more.
    pub(super) fn need_open_pieces(&mut self, reason: &str, now: Timestamp) -> Vec<Event> {
        let missing = |(group, lines)| Missing { group, lines, reason: reason.to_owned() };
        let missing = self.open_parts().into_iter().map(missing).collect();
        let events = self.need_missing(missing, now).unwrap_or_default();
        self.lapsed_at = None;
        self.sum_up();
        events
    }

    /// Pieces that no leg has become needs, one for each entry. Refused when they are not open. The buckets are to be summed
    /// up after it.
    pub(super) fn need_missing(
        &mut self,
        missing: Vec<Missing>,
        now: Timestamp,
    ) -> Result<Vec<Event>, Refusal> {
        let mut events = Vec::with_capacity(missing.len());
        for Missing { group, lines, reason } in missing {
            for (no, pieces) in &lines {
                let own = &mut self.line_mut(*no)?.own;
                if *pieces > own.open {
                    return Err(Refusal::NeedsHold);
                }
                own.open -= pieces;
            }
            let mut need = self.next_need(None, group, &reason, now);
            need.add(&lines);
            events.push(Event::NeedOpened { need: need.clone() });
            self.needs.push(need);
        }
        Ok(events)
    }

    /// Why pieces of a need are dropped because nothing was found: as the channel calls it, else why they are missing.
    pub fn drop_reason<'a>(&'a self, need: &'a Need) -> &'a str {
        self.acceptance.cancel_code().unwrap_or(&need.reason)
    }

    /// A need without pieces, to be looked for at once. No node had them yet.
    fn next_need(&self, leg: Option<FulfillmentId>, group: u32, reason: &str, now: Timestamp) -> Need {
        let no = self.needs.iter().map(|need| need.no).max().unwrap_or_default() + 1;
        Need {
            no,
            id: Need::id_of(self.id, leg, no),
            leg,
            group,
            reason: reason.to_owned(),
            offers: 0,
            tries: 0,
            asks: 0,
            opened: now,
            seek_at: Some(now),
            asked: None,
            lines: Vec::new(),
            options: Vec::new(),
        }
    }

    /// Drops open pieces of a need; the lines say why. Answers the claims that its leg keeps no longer, and the pieces.
    pub(super) fn drop_parts(
        &mut self,
        at: usize,
        parts: &[(LineNo, i64)],
        reason: &str,
    ) -> (LegParts, Vec<(LineNo, i64)>) {
        let dropped = self.needs[at].drop(parts);
        for (no, _) in &dropped {
            if let Ok(line) = self.line_mut(*no) {
                reason.clone_into(&mut line.cancel_reason);
            }
        }
        (let_go(&self.needs[at], dropped.clone()), dropped)
    }

    /// Drops all open pieces of needs, one need after the other, each for its own reason, and pays them back.
    fn drop_all(&mut self, needs: &[usize], how: How, now: Timestamp) -> Vec<Event> {
        let (was_over, dues) = (self.status().is_over(), self.dues());
        let mut events = Vec::new();
        for at in needs {
            let live = self.live();
            let (open, reason) = (self.needs[*at].open(), self.drop_reason(&self.needs[*at]).to_owned());
            let (let_go, dropped) = self.drop_parts(*at, &open, &reason);
            self.sum_up();
            events.extend(self.closed(*at, how, let_go));
            let lines = self.cancelled_of(dropped.iter().map(|(no, _)| *no));
            let (legs, let_go) = (Vec::new(), LegParts::new());
            events.push(Event::Cancelled { lines, reason: reason.clone(), legs, let_go });
            events.extend(self.give_back(&live, &reason, now));
        }
        events.extend(self.unblock_if_covered(now));
        events.extend(self.due_changed(&dues, &events));
        events.extend(self.ends(was_over, now));
        events
    }

    /// What follows when pieces are not waited for any more: the order is complete, or all its stock is confirmed.
    pub(super) fn ends(&mut self, was_over: bool, now: Timestamp) -> Vec<Event> {
        let mut events = Vec::new();
        if !was_over && self.status() == Status::Completed {
            self.write_off(now);
            events.push(Event::Completed);
        }
        if self.legs.iter().any(|leg| leg.confirmed.is_some()) {
            events.extend(self.all_confirmed(now));
        }
        events
    }
}

/// A line of a new leg: pieces, all on the shelf.
fn is_fresh(line: &LegLine) -> bool {
    line.units.quantity > 0 && line.units.to_pick == line.units.quantity && line.units.is_whole()
}

/// The claims that the leg of a need keeps no longer.
fn let_go(need: &Need, pieces: Vec<(LineNo, i64)>) -> LegParts {
    let leg = need.leg.filter(|_| !pieces.is_empty());
    leg.map(|leg| (leg, pieces)).into_iter().collect()
}

/// The same places are offered, and each can still be chosen and had as it was quoted.
fn is_same(options: &[Choice], places: &[(OptionKind, Quote)], now: Timestamp) -> bool {
    let known: Vec<_> = options.iter().filter_map(|way| Some((way, way.place.as_ref()?))).collect();
    let is_offered = |(kind, place): &(OptionKind, Quote)| {
        known.iter().any(|(way, old)| {
            let is_it = way.kind == *kind && old.node == place.node && old.method == place.method;
            is_it && way.valid_until > now && place.window.start <= old.latest()
        })
    };
    known.len() == places.len() && places.iter().all(is_offered)
}

/// How long after a round the next one comes, in milliseconds.
const fn retry_ms(tries: i64, policy: &Policy) -> i64 {
    match tries {
        ..=1 => policy.need_retry_ms / 5,
        2 => policy.need_retry_ms,
        3 => policy.need_retry_ms.saturating_mul(3),
        4.. => policy.need_retry_ms.saturating_mul(12),
    }
}
