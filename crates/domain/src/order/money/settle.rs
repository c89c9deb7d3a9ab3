//! Settling: what pieces cost is given up, by those tenders that have to pay it.

use super::ledger::Ledger;
use super::part::{Part, Parts, ReturnRule};
use super::row::{Cause, Component, Row};
use crate::id::LineNo;
use crate::time::Timestamp;

/// Some pieces of a line, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pieces {
    /// The line.
    pub line: LineNo,
    /// The number of the first, from 1.
    pub first: i64,
    /// How many.
    pub units: i64,
}

/// What is given up of some pieces, component by component; discounts first. Together it is not negative.
struct Item {
    pieces: Pieces,
    amounts: Vec<(Component, i64)>,
}

/// What settling asks of providers, by tender, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settled {
    /// To be paid back.
    pub refunds: Vec<(String, i64)>,
    /// Authorized, and not to be captured any more.
    pub voids: Vec<(String, i64)>,
}

/// A tender that pays a part of what is given up.
struct Payer {
    tender: String,
    cause: Cause,
    left: i64,
}

impl Ledger {
    /// Gives up what pieces cost that the customer does not get. `is_last`: no piece is delivered or still to come.
    pub fn settle(
        &mut self,
        parts: &Parts,
        gone: &[Pieces],
        is_last: bool,
        total_minor: i64,
        at: Timestamp,
    ) -> Settled {
        let mut items: Vec<Item> = gone.iter().flat_map(|pieces| self.pro_rata(parts, *pieces)).collect();
        for pieces in gone {
            for part in parts.line(pieces.line).iter().filter(|part| part.rule == ReturnRule::Kept) {
                let row = Row::of_tender("", part.component.clone(), Cause::Retained, 0, at);
                let amount_minor = part.of(pieces.first, pieces.units);
                self.rows.extend((amount_minor != 0).then(|| row.on(*pieces, amount_minor)));
            }
        }
        if is_last {
            items.extend(self.with_last(parts));
        }
        self.give_up(items, total_minor, at)
    }

    /// Lowers what one piece costs, charges apart. Refused with what is left of it, if that is less.
    pub fn lower(
        &mut self,
        parts: &Parts,
        piece: Pieces,
        amount_minor: i64,
        total_minor: i64,
        at: Timestamp,
    ) -> Result<Settled, i64> {
        let is_goods = |(component, _): &(Component, i64)| !matches!(component, Component::Charge(_));
        let left: Vec<_> = self.left_of(parts, piece).into_iter().filter(is_goods).collect();
        let net = left.iter().map(|(_, minor)| minor).sum::<i64>();
        if amount_minor > net {
            return Err(net);
        }
        let mut rest = amount_minor;
        let amounts = left.into_iter().filter(|(_, minor)| *minor > 0).map(|(component, minor)| {
            let part = minor.min(rest);
            rest -= part;
            (component, part)
        });
        let item = Item { pieces: piece, amounts: amounts.filter(|(_, minor)| *minor > 0).collect() };
        Ok(self.give_up(vec![item], total_minor, at))
    }

    /// What is left of the price of pieces, without charges that do not go back piece by piece. Where the price of a piece
    /// was lowered it stands for itself.
    fn pro_rata(&self, parts: &Parts, pieces: Pieces) -> Vec<Item> {
        let Pieces { line, first, units } = pieces;
        let mut lowered: Vec<i64> = self.lowered(line).map(|row| row.first).collect();
        lowered.retain(|piece| (first..first + units).contains(piece));
        lowered.sort_unstable();
        lowered.dedup();
        let (mut items, mut next) = (Vec::new(), first);
        for piece in lowered.into_iter().chain([first + units]) {
            if piece > next {
                let run = Pieces { line, first: next, units: piece - next };
                items.push(Item { pieces: run, amounts: pro_rata(parts, run) });
            }
            if piece < first + units {
                let single = Pieces { line, first: piece, units: 1 };
                items.push(Item { pieces: single, amounts: self.left_of(parts, single) });
            }
            next = piece + 1;
        }
        items
    }

    /// What is left of the price of one piece.
    fn left_of(&self, parts: &Parts, piece: Pieces) -> Vec<(Component, i64)> {
        let mut left = pro_rata(parts, piece);
        for row in self.lowered(piece.line).filter(|row| row.first == piece.first) {
            if let Some((_, minor)) = left.iter_mut().find(|(component, _)| *component == row.component) {
                *minor -= row.amount_minor;
            }
        }
        left
    }

    /// What was given up of single pieces so far: of those that are gone, and of those that cost less.
    fn lowered(&self, line: LineNo) -> impl Iterator<Item = &Row> {
        let is_given_up = |row: &&Row| matches!(row.cause, Cause::Waived | Cause::Voided | Cause::Claimed);
        self.rows.iter().filter(move |row| row.line == line && row.units == 1).filter(is_given_up)
    }

    /// The charges that go back with the last piece, once.
    fn with_last(&self, parts: &Parts) -> Vec<Item> {
        let mut items = Vec::new();
        for (line, units, of_line) in parts.lines() {
            let is_new = |part: &&Part| {
                let was = |row: &Row| row.line == line && row.component == part.component;
                part.rule == ReturnRule::WithLastPiece && !self.rows.iter().any(was)
            };
            let amounts: Vec<_> = of_line
                .iter()
                .filter(is_new)
                .map(|part| (part.component.clone(), part.of(1, units)))
                .collect();
            if !amounts.is_empty() {
                items.push(Item { pieces: Pieces { line, first: 1, units }, amounts });
            }
        }
        items
    }

    /// Writes down who gives up what: first what is not paid, then what is only authorized, then what was captured.
    fn give_up(&mut self, items: Vec<Item>, total_minor: i64, at: Timestamp) -> Settled {
        let mut payers = self.payers(total_minor).into_iter().peekable();
        let mut settled = Settled::default();
        for Item { pieces, amounts } in items {
            for (component, amount) in amounts {
                let mut rest = amount;
                while rest != 0 {
                    while payers.peek().is_some_and(|payer| payer.left == 0 && rest > 0) {
                        payers.next();
                    }
                    let Some(payer) = payers.peek_mut() else { break };
                    // A discount leaves the payer that much more of the goods.
                    let part = if rest > 0 { rest.min(payer.left) } else { rest };
                    (payer.left, rest) = (payer.left - part, rest - part);
                    let row = Row::of_tender(&payer.tender, component.clone(), payer.cause, 0, at);
                    self.rows.push(row.on(pieces, part));
                    settled.count(payer, part);
                }
            }
        }
        settled
    }

    fn payers(&self, total_minor: i64) -> Vec<Payer> {
        let sums = self.sums();
        let tenders = || self.tenders.iter().zip(&sums);
        let payer = |tender: &str, cause, left| Payer { tender: tender.to_owned(), cause, left };
        let mut payers: Vec<Payer> =
            tenders().map(|(t, sums)| payer(&t.id, Cause::Waived, Self::due(t, sums))).collect();
        payers.push(payer("", Cause::Waived, self.unassigned(total_minor)));
        payers.extend(tenders().map(|(t, sums)| payer(&t.id, Cause::Voided, sums.authorized)));
        payers.extend(tenders().map(|(t, sums)| payer(&t.id, Cause::Claimed, sums.captured - sums.claimed)));
        payers.retain(|payer| payer.left > 0);
        // What adds up needs this one for nothing; discounts are added to what it has left.
        payers.push(payer("", Cause::Waived, i64::MAX / 2));
        payers
    }
}

impl Settled {
    /// Adds what was settled besides.
    pub(in crate::order) fn add(&mut self, other: Self) {
        for (tender, amount) in other.refunds {
            add(&mut self.refunds, &tender, amount);
        }
        for (tender, amount) in other.voids {
            add(&mut self.voids, &tender, amount);
        }
    }

    fn count(&mut self, payer: &Payer, amount: i64) {
        match payer.cause {
            Cause::Claimed => add(&mut self.refunds, &payer.tender, amount),
            Cause::Voided => add(&mut self.voids, &payer.tender, amount),
            // Nobody has the money: no provider is asked.
            Cause::Waived
            | Cause::Authorized
            | Cause::Captured
            | Cause::Failed
            | Cause::Released
            | Cause::Retained
            | Cause::Refunded => {}
        }
    }
}

/// Adds an amount to what is asked by a tender.
fn add(asked: &mut Vec<(String, i64)>, tender: &str, amount: i64) {
    match asked.iter_mut().find(|(known, _)| known == tender) {
        Some((_, sum)) => *sum += amount,
        None => asked.push((tender.to_owned(), amount)),
    }
}

impl Row {
    fn on(self, pieces: Pieces, amount_minor: i64) -> Self {
        let Pieces { line, first, units } = pieces;
        Self { line, first, units, amount_minor, ..self }
    }
}

fn pro_rata(parts: &Parts, pieces: Pieces) -> Vec<(Component, i64)> {
    let of_rule = parts.line(pieces.line).iter().filter(|part| part.rule == ReturnRule::ProRata);
    let amounts = of_rule.map(|part| (part.component.clone(), part.of(pieces.first, pieces.units)));
    amounts.filter(|(_, minor)| *minor != 0).collect()
}
