//! Giving money back, and following what became of it.

use super::money::Settled;
use super::{
    Cause, Changed, Component, Event, Ledger, Order, PartId, Payment, Pieces, Redirect, Refund, RefundAnswer,
    RefundPart, Refusal, Row,
};
use crate::id::{self, LineNo, RefundId};
use crate::money::Money;
use crate::time::Timestamp;

impl Order {
    /// The pieces of each line that the customer still gets or has.
    pub(super) fn live(&self) -> Vec<i64> {
        self.lines.iter().map(|line| line.buckets.live()).collect()
    }

    /// Gives up what pieces cost that are live no more: the last ones of each line. The reason goes into the events.
    pub(super) fn give_back(&mut self, before: &[i64], reason: &str, now: Timestamp) -> Vec<Event> {
        let gone = self.lines.iter().zip(before).map(|(line, before)| {
            let left = line.buckets.live();
            Pieces { line: line.no, first: left + 1, units: before - left }
        });
        let gone: Vec<Pieces> = gone.filter(|pieces| pieces.units > 0).collect();
        if gone.is_empty() {
            return Vec::new();
        }
        let is_last = self.buckets().live() == 0;
        let settled = self.ledger.settle(&self.parts(), &gone, is_last, self.total_minor, now);
        let lines = gone.iter().map(|pieces| (pieces.line, pieces.units)).collect();
        self.ask_back(settled, reason, lines, now)
    }

    /// Asks providers for what was settled.
    fn ask_back(
        &mut self,
        settled: Settled,
        reason: &str,
        lines: Vec<(LineNo, i64)>,
        now: Timestamp,
    ) -> Vec<Event> {
        let mut events = Vec::new();
        for (tender, amount_minor) in settled.voids.into_iter().filter(|(_, minor)| *minor > 0) {
            events.push(self.void(tender, amount_minor, reason, lines.clone()));
        }
        let asked = settled.refunds.iter();
        let parts: Vec<RefundPart> =
            asked.flat_map(|(tender, minor)| self.ledger.refund_parts(tender, *minor, now)).collect();
        if !parts.is_empty() {
            events.push(self.refund(parts, reason, lines, now).1);
        }
        events
    }

    /// Of what is authorized this much is not needed any more.
    pub(super) fn void(
        &self,
        tender: String,
        amount_minor: i64,
        reason: &str,
        lines: Vec<(LineNo, i64)>,
    ) -> Event {
        let left_minor = self.ledger.sums_of(&tender).authorized;
        let provider_ref = self.ledger.authorization(&tender).to_owned();
        Event::VoidRequested {
            tender,
            amount_minor,
            left_minor,
            provider_ref,
            reason: reason.to_owned(),
            lines,
        }
    }

    fn refund(
        &mut self,
        parts: Vec<RefundPart>,
        reason: &str,
        lines: Vec<(LineNo, i64)>,
        now: Timestamp,
    ) -> (RefundId, Event) {
        let name = format!("{}/{}", self.id, self.ledger.refunds.len() + 1);
        let refund = Refund {
            id: RefundId::new(id::derived("refund", &name)),
            amount_minor: parts.iter().map(|part| part.amount_minor).sum(),
            reason: reason.to_owned(),
            at: now,
            lines,
            parts,
        };
        self.ledger.refunds.push(refund.clone());
        (refund.id, Event::RefundRequested { parts: refund.parts.clone(), refund })
    }

    /// More came in than was due: it goes back, whole.
    pub(super) fn excess(
        &mut self,
        payment: &Payment,
        amount_minor: i64,
        reason: &str,
        now: Timestamp,
    ) -> Vec<Event> {
        let Payment { tender, provider_ref, .. } = payment;
        let row = Row::of_tender(tender, Component::Excess, Cause::Claimed, amount_minor, now);
        self.ledger.rows.push(row);
        let part = RefundPart::new(tender, self.ledger.kind_of(tender), provider_ref, amount_minor, now);
        let (refund, asked) = self.refund(vec![part], reason, Vec::new(), now);
        let (tender, provider_ref) = (tender.clone(), provider_ref.clone());
        vec![Event::ExcessPaid { tender, amount_minor, provider_ref, refund }, asked]
    }

    /// Gives money back for pieces that the customer keeps or still gets: (line, number of the piece, minor units). They cost
    /// that much less from now on; what other pieces give back stays the same.
    pub fn claim(
        mut self,
        claims: &[(LineNo, i64, i64)],
        reason: &str,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        let (parts, dues, before) = (self.parts(), self.dues(), self.ledger.dues());
        let mut all = Settled::default();
        for (no, piece, amount_minor) in claims {
            let line = self.line(*no).ok_or(Refusal::UnknownLine { line: *no })?;
            let (pieces, left) = (line.amounts.quantity, line.buckets.live());
            if !(1..=pieces).contains(piece) {
                return Err(Refusal::UnknownPiece { line: *no, piece: *piece, pieces, left });
            }
            let is_live = *piece <= left;
            let pieces = Pieces { line: *no, first: *piece, units: 1 };
            let (total, currency) = (self.total_minor, self.currency);
            let too_large =
                |left| Refusal::ClaimTooLarge { line: *no, piece: *piece, left: Money::new(left, currency) };
            if !is_live {
                return Err(too_large(0));
            }
            let settled = self.ledger.lower(&parts, pieces, *amount_minor, total, now).map_err(too_large)?;
            all.add(settled);
        }
        let mut lines: Vec<(LineNo, i64)> = Vec::new();
        for (no, ..) in claims {
            match lines.iter_mut().find(|(other, _)| other == no) {
                Some((_, pieces)) => *pieces += 1,
                None => lines.push((*no, 1)),
            }
        }
        let mut events = self.ask_back(all, reason, lines, now);
        events.extend(self.unblock_if_covered(now));
        events.extend(self.due_changed(&dues, &events));
        if events.is_empty() {
            // Nothing was paid yet: less is due.
            let after = self.ledger.dues();
            let lower = after.into_iter().filter(|due| !before.contains(due));
            events.push(Event::MoneyChanged { tenders: lower.map(|(tender, _)| tender).collect() });
        }
        Ok(self.changed(events, now))
    }

    /// A provider answered an attempt at a part of a refund. The same answer again changes nothing, and neither does the
    /// failure of an attempt that was followed by another.
    pub fn report_refund(
        mut self,
        refund: RefundId,
        part: &PartId,
        answer: &RefundAnswer,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        let Some((refund, part)) = self.ledger.refund_reported(refund, part, answer, now)? else {
            return Ok(Changed { order: self, events: Vec::new() });
        };
        Ok(self.changed(vec![Event::RefundReported { refund, part }], now))
    }

    /// A part of a refund that failed for good goes to another tender.
    pub fn redirect_refund(
        mut self,
        refund: RefundId,
        part: &PartId,
        to: &Redirect,
        now: Timestamp,
    ) -> Result<Changed, Refusal> {
        let (refund, old, new) = self.ledger.refund_redirected(refund, part, to, now)?;
        let reported = Event::RefundReported { refund: refund.clone(), part: old };
        let events = vec![reported, Event::RefundRequested { refund, parts: vec![new] }];
        Ok(self.changed(events, now))
    }

    /// Asks again for refunds that failed or had no answer.
    pub fn retry_refunds(mut self, now: Timestamp) -> Result<Changed, Refusal> {
        let mut events = Vec::new();
        for refund in &mut self.ledger.refunds {
            let (parts, failed) = refund.retry(now);
            let gone = failed.into_iter();
            events.extend(gone.map(|part| Event::RefundReported { refund: refund.clone(), part }));
            if !parts.is_empty() {
                events.push(Event::RefundRequested { refund: refund.clone(), parts });
            }
        }
        if events.is_empty() { Err(Refusal::NotDue) } else { Ok(self.changed(events, now)) }
    }

    /// When a refund is asked for again.
    pub fn retry_at(&self) -> Option<Timestamp> {
        self.ledger.refunds.iter().filter_map(Refund::next_attempt).min()
    }
}

impl Ledger {
    /// Writes off what is left to pay of an order whose pieces are all paid at their handovers: the minor units that a
    /// division left over, at most one for each piece.
    pub(super) fn write_off(&mut self, total_minor: i64, pieces: i64, now: Timestamp) {
        let mut rests = self.dues();
        rests.push((String::new(), self.unassigned(total_minor)));
        if rests.iter().map(|(_, rest)| rest).sum::<i64>() > pieces {
            return;
        }
        let row = |(tender, rest): (String, i64)| {
            Row::of_tender(&tender, Component::Tender, Cause::Waived, rest, now)
        };
        self.rows.extend(rests.into_iter().filter(|(_, rest)| *rest > 0).map(row));
    }
}
