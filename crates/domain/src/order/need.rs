//! Needs: pieces that a node could not do, or that no node could hold when they were paid, and what becomes of them.
//!
//! A node fails pieces when it refuses them, does not find them, or lets their time run out. They stay `short` or
//! `given_up` in the leg's snapshot, where they count for nothing, and the need has them. So for each line of a leg the
//! needs of the leg together have exactly what its node failed, and a need is made from a snapshot: the same report
//! twice opens nothing twice. Of a need's pieces each is open, sourced (another leg has it) or dropped (cancelled).

use super::Span;
use super::seek::later;
use crate::fulfillment::method::Method;
use crate::id::{self, FulfillmentId, LineNo, NeedId, NodeId, OptionId, OrderId};
use crate::time::Timestamp;

/// The most options of a need besides waiting and dropping.
pub const MAX_PLACES: usize = 5;
/// The most needs of an order. Pieces that fail after that join the newest open need of their leg.
pub const MAX_NEEDS: usize = 200;
/// The longest that a customer may wait for pieces of a need, from when it was opened, in milliseconds.
pub const MAX_WAIT_MS: i64 = 30 * 24 * 3_600_000;

/// Pieces of one line of a need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NeedLine {
    /// The line of the order.
    pub line: LineNo,
    /// Pieces that the node failed, at least 1.
    pub quantity: i64,
    /// Of them: another leg has them.
    pub sourced: i64,
    /// Of them: cancelled.
    pub dropped: i64,
}

impl NeedLine {
    /// Pieces that have no leg and are not cancelled.
    pub const fn open(&self) -> i64 {
        self.quantity - self.sourced - self.dropped
    }
}

/// The customer is asked what is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Question {
    /// Since when.
    pub since: Timestamp,
    /// Without an answer the open pieces are dropped then.
    pub resolve_by: Timestamp,
    /// The version of the policy that made `resolve_by`; 0: the settings.
    pub policy: i64,
}

/// Where a need stands. Computed from its lines, never set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NeedState {
    /// Another node, time or method is looked for.
    Seeking,
    /// Nothing was found that the consent allows: the customer is asked. It is still looked for.
    Asked,
    /// Every piece that was not dropped has a new leg.
    Sourced,
    /// Every piece was dropped.
    Dropped,
}

impl NeedState {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Seeking => "SEEKING",
            Self::Asked => "ASKED",
            Self::Sourced => "SOURCED",
            Self::Dropped => "DROPPED",
        }
    }
}

/// How the last open pieces of a need were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// The customer chose so.
    Chosen,
    /// The customer did not answer in time.
    NoAnswer,
    /// They were cancelled.
    Cancelled,
    /// Their order expired.
    Expired,
}

impl How {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "CHOSEN",
            Self::NoAnswer => "NO_ANSWER",
            Self::Cancelled => "CANCELLED",
            Self::Expired => "EXPIRED",
        }
    }
}

/// What the customer may choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OptionKind {
    /// Another node, for all open pieces.
    OtherNode,
    /// Another method.
    OtherMethod,
    /// Later: with a quote at that node; without one it is looked for longer.
    Wait,
    /// Nothing: the pieces are cancelled and paid back.
    Drop,
}

impl OptionKind {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::OtherNode => "OTHER_NODE",
            Self::OtherMethod => "OTHER_METHOD",
            Self::Wait => "WAIT",
            Self::Drop => "DROP",
        }
    }
}

/// Where and when pieces of a need could be ready. Nothing is held for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// The node.
    pub node: NodeId,
    /// The name of the node.
    pub name: String,
    /// How the goods would reach the customer.
    pub method: Method,
    /// When the goods would be ready until when they would be kept.
    pub window: Span,
}

impl Quote {
    /// The latest time at which the goods are still ready as quoted.
    pub fn latest(&self) -> Timestamp {
        later(self.window.start, self.method.rules().slack)
    }
}

/// One way out of a need.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// Its id.
    pub id: OptionId,
    /// What.
    pub kind: OptionKind,
    /// Where and when; none: `Drop`, and `Wait` without a window.
    pub place: Option<Quote>,
    /// It can be chosen before then.
    pub valid_until: Timestamp,
}

/// Pieces that a node could not do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// Its number in the order, from 1.
    pub no: i64,
    /// Its id.
    pub id: NeedId,
    /// The leg that failed; none: no leg ever had the pieces.
    pub leg: Option<FulfillmentId>,
    /// The group of the order.
    pub group: u32,
    /// Why, `UPPER_SNAKE`.
    pub reason: String,
    /// How many nodes had the pieces so far.
    pub offers: i64,
    /// How many rounds of seeking have ended: part of the ids of its holds.
    pub tries: i64,
    /// How often options were offered.
    pub asks: i64,
    /// When it was opened.
    pub opened: Timestamp,
    /// When it is looked for next; none when nothing is open.
    pub seek_at: Option<Timestamp>,
    /// The customer is asked; none when not, or not any more.
    pub asked: Option<Question>,
    /// Its pieces, by number of the line.
    pub lines: Vec<NeedLine>,
    /// What was offered last, best first, `Drop` last; empty unless the customer is asked.
    pub options: Vec<Choice>,
}

impl Need {
    /// The id of the need with this number.
    pub fn id_of(order: OrderId, leg: Option<FulfillmentId>, no: i64) -> NeedId {
        let leg = leg.map_or_else(|| "-".to_owned(), |leg| leg.to_string());
        NeedId::new(id::derived("need", &format!("{order}/{leg}/{no}")))
    }

    /// The id of an option. The same way out has the same id however often it is offered, so that a link in a message
    /// works as long as what it names is offered.
    pub fn option_id(&self, kind: OptionKind, place: Option<&Quote>) -> OptionId {
        let place = place.map_or_else(String::new, |place| format!("/{}/{}", place.method, place.node));
        OptionId::new(id::derived("option", &format!("{}/{}{place}", self.id, kind.name())))
    }

    /// Where it stands.
    pub fn state(&self) -> NeedState {
        match (self.is_open(), self.asked.is_some()) {
            (true, false) => NeedState::Seeking,
            (true, true) => NeedState::Asked,
            (false, _) if self.lines.iter().any(|line| line.sourced > 0) => NeedState::Sourced,
            (false, _) => NeedState::Dropped,
        }
    }

    /// Some of its pieces have no leg and are not cancelled.
    pub fn is_open(&self) -> bool {
        self.lines.iter().any(|line| line.open() > 0)
    }

    /// Its open pieces per line, by number; lines without any are left out.
    pub fn open(&self) -> Vec<(LineNo, i64)> {
        let open = self.lines.iter().map(|line| (line.line, line.open()));
        open.filter(|(_, pieces)| *pieces > 0).collect()
    }

    /// One of its lines.
    pub fn line(&self, no: LineNo) -> Option<&NeedLine> {
        self.lines.binary_search_by_key(&no, |line| line.line).ok().map(|at| &self.lines[at])
    }

    /// One of the options that were offered last.
    pub fn option(&self, id: OptionId) -> Option<&Choice> {
        self.options.iter().find(|option| option.id == id)
    }

    /// More pieces of its leg failed.
    pub(super) fn add(&mut self, parts: &[(LineNo, i64)]) {
        for (no, pieces) in parts {
            match self.lines.binary_search_by_key(no, |line| line.line) {
                Ok(at) => self.lines[at].quantity += pieces,
                Err(at) => {
                    let line = NeedLine { line: *no, quantity: *pieces, sourced: 0, dropped: 0 };
                    self.lines.insert(at, line);
                }
            }
        }
    }

    /// New legs have all open pieces.
    pub(super) fn source(&mut self) {
        self.lines.iter_mut().for_each(|line| line.sourced = line.quantity - line.dropped);
        self.tries += 1;
        self.close_if_over();
    }

    /// Drops open pieces: at most those that are open. Answers those that were.
    pub(super) fn drop(&mut self, parts: &[(LineNo, i64)]) -> Vec<(LineNo, i64)> {
        let mut dropped = Vec::with_capacity(parts.len());
        for (no, pieces) in parts {
            let Ok(at) = self.lines.binary_search_by_key(no, |line| line.line) else { continue };
            let pieces = self.lines[at].open().min(*pieces);
            if pieces > 0 {
                self.lines[at].dropped += pieces;
                dropped.push((*no, pieces));
            }
        }
        self.close_if_over();
        dropped
    }

    /// Nothing waits for a need without open pieces.
    fn close_if_over(&mut self) {
        if !self.is_open() {
            (self.seek_at, self.asked) = (None, None);
            self.options.clear();
        }
    }
}
