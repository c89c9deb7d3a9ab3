//! Stock: how many units of a SKU are at a node, who has a claim on them, and what may be promised.
//!
//! A [`Position`] is one SKU at one node. Goods change `on_hand`, claims change `reserved`; every change is an
//! [`movement::Entry`] of the ledger, so both can be recomputed. A [`reservation::Reservation`] owns claims on one
//! or more positions, all or nothing: [`shortages`] decides, with the demand of the whole basket summed first.
//!
//! Always true: `reserved >= 0`, `quarantine >= 0`, and an answer about ATP is never negative. `on_hand` may be
//! negative after a late till sale, and `reserved` may exceed it then ([`Position::overclaim`]): [`relief`] says whose
//! claims are given up. [`safety`] says what is kept back from all channels, [`pool`] what is kept for one of them.

pub mod feed;
pub mod kit;
pub mod movement;
pub mod pool;
pub mod relief;
pub mod reservation;
pub mod safety;
#[cfg(test)]
mod tests;

use crate::id::{NodeId, ReservationId, Sku, Uuid, derived};
use crate::words;
use movement::{Entry, Kind};
use pool::Room;
use safety::SafetyStock;

/// No quantity of a position may leave plus or minus this many units; it keeps all sums far from overflow.
pub const MAX_UNITS: i64 = 1_000_000_000_000;

/// What the stock rules refuse, with the facts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The reservation is past the state in which this can be done.
    #[error("{id} cannot {step}: it is {}", words::plain(.state))]
    Ended {
        /// Which reservation.
        id: ReservationId,
        /// What was asked.
        step: &'static str,
        /// The state it is in.
        state: &'static str,
    },
    /// The reservation ran out; its claims have to be taken again first.
    #[error("{id} has expired")]
    Lost {
        /// Which reservation.
        id: ReservationId,
    },
    /// The reservation belongs to another order already.
    #[error("{id} belongs to another order")]
    OtherOrder {
        /// Which reservation.
        id: ReservationId,
    },
    /// The reservation belongs to an order: only what becomes of the order gives it back.
    #[error("{id} belongs to an order")]
    Confirmed {
        /// Which reservation.
        id: ReservationId,
    },
    /// The reservation has no such line.
    #[error("{id} has no line {line}")]
    UnknownLine {
        /// Which reservation.
        id: ReservationId,
        /// Line number asked for.
        line: u32,
    },
    /// More units than the line has left.
    #[error("line {line} of {id} has {} left, {wanted} wanted", words::counted(*.left, "unit"))]
    TooMany {
        /// Which reservation.
        id: ReservationId,
        /// Line number.
        line: u32,
        /// Units asked for.
        wanted: i64,
        /// Units that are left.
        left: i64,
    },
    /// Consumed units can't become unconsumed.
    #[error(
        "line {line} of {id} has {} consumed and cannot go back to {wanted}",
        words::counted(*.consumed, "unit")
    )]
    Backwards {
        /// Which reservation.
        id: ReservationId,
        /// Line number.
        line: u32,
        /// Units asked for.
        wanted: i64,
        /// Units consumed already.
        consumed: i64,
    },
    /// A reservation needs lines, each of at least one unit.
    #[error("a reservation needs at least one line of at least one unit")]
    Empty,
    /// The position has too few units for this step.
    #[error(
        "{} of {}: only {available} is available",
        words::plain(.kind),
        words::counted(*.wanted, "unit")
    )]
    TooFew {
        /// What was asked.
        kind: &'static str,
        /// Units asked for.
        wanted: i64,
        /// Units there.
        available: i64,
    },
    /// The quantity makes no sense for this kind of movement.
    #[error("{} cannot take a quantity of {quantity}", words::plain(.kind))]
    Quantity {
        /// What was asked.
        kind: &'static str,
        /// The quantity given.
        quantity: i64,
    },
    /// A quantity left the range that positions can hold.
    #[error("the position would exceed its range")]
    Overflow,
}

/// One SKU at one node.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Position {
    /// Sellable units at the node; negative after a till sale that was reported late.
    pub on_hand: i64,
    /// Units claimed by open reservations.
    pub reserved: i64,
    /// What is kept back from promises.
    pub safety: SafetyStock,
    /// Units on their way to the node.
    pub in_transit: i64,
    /// Units at the node that may not be sold.
    pub quarantine: i64,
    /// Nothing is promised from here until somebody has counted.
    pub count_blocked: bool,
}

impl Position {
    /// Units that can be promised now: never negative, 0 while the position waits for a count.
    pub fn atp(&self) -> i64 {
        if self.count_blocked { 0 } else { (self.on_hand - self.reserved - self.safety_stock()).max(0) }
    }

    /// Units kept back from promises now.
    pub fn safety_stock(&self) -> i64 {
        self.safety.units(self.on_hand)
    }

    /// Claimed units that are not there (a late fact took them): 0 in ordinary life.
    pub fn overclaim(&self) -> i64 {
        (self.reserved - self.on_hand).max(0)
    }

    /// The goods that are claimed may not be there: it waits for a count, or claims more than it has.
    pub fn is_doubtful(&self) -> bool {
        self.count_blocked || self.overclaim() > 0
    }

    /// Applies a change of goods. `quantity` is signed for receipts, sales and adjustments, absolute for counts and
    /// snapshots, the new value for the safety stock, and a plain number of units otherwise.
    pub fn post(&mut self, kind: Kind, quantity: i64) -> Result<Entry, Refusal> {
        let wrong = Refusal::Quantity { kind: kind.name(), quantity };
        let sensible = match kind {
            Kind::Receipt | Kind::Quarantine | Kind::ReleaseQuarantine | Kind::WriteOff => quantity > 0,
            Kind::Sale => quantity < 0,
            Kind::Adjustment => quantity != 0,
            Kind::Count | Kind::SafetyStock => quantity >= 0,
            Kind::Snapshot => true,
            Kind::CountBlock | Kind::SafetyStockByPolicy => quantity == 0,
            Kind::Reserve | Kind::Release | Kind::Expire | Kind::Consume => false,
        };
        if !sensible || quantity.unsigned_abs() > MAX_UNITS.unsigned_abs() {
            return Err(wrong);
        }
        match kind {
            Kind::Receipt | Kind::Sale => self.shift(kind, quantity, 0),
            Kind::Adjustment => {
                need(kind, -quantity, self.on_hand)?;
                self.shift(kind, quantity, 0)
            }
            Kind::WriteOff => {
                need(kind, quantity, self.on_hand)?;
                self.shift(kind, -quantity, 0)
            }
            Kind::Count => {
                self.count_blocked = false;
                self.shift(kind, quantity - self.on_hand, 0)
            }
            Kind::Snapshot => self.shift(kind, quantity - self.on_hand, 0),
            Kind::Quarantine => {
                need(kind, quantity, self.on_hand)?;
                let entry = self.shift(kind, -quantity, 0)?;
                self.quarantine += quantity;
                Ok(entry)
            }
            Kind::ReleaseQuarantine => {
                need(kind, quantity, self.quarantine)?;
                let entry = self.shift(kind, quantity, 0)?;
                self.quarantine -= quantity;
                Ok(entry)
            }
            Kind::CountBlock => {
                self.count_blocked = true;
                self.shift(kind, 0, 0)
            }
            Kind::SafetyStock => {
                self.safety.own = Some(quantity);
                self.shift(kind, 0, 0)
            }
            Kind::SafetyStockByPolicy => {
                self.safety.own = None;
                self.shift(kind, 0, 0)
            }
            Kind::Reserve | Kind::Release | Kind::Expire | Kind::Consume => Err(wrong),
        }
    }

    /// Applies what a reservation did to one of its lines ([`reservation::Shift`]) and writes the ledger entry.
    pub fn shift(&mut self, kind: Kind, on_hand: i64, reserved: i64) -> Result<Entry, Refusal> {
        let next_on_hand = self.on_hand.checked_add(on_hand).ok_or(Refusal::Overflow)?;
        let next_reserved = self.reserved.checked_add(reserved).ok_or(Refusal::Overflow)?;
        if next_on_hand.abs() > MAX_UNITS || next_reserved > MAX_UNITS {
            return Err(Refusal::Overflow);
        }
        if next_reserved < 0 {
            let (wanted, available) = (-reserved, self.reserved);
            return Err(Refusal::TooFew { kind: kind.name(), wanted, available });
        }
        self.on_hand = next_on_hand;
        self.reserved = next_reserved;
        Ok(Entry {
            kind,
            delta_on_hand: on_hand,
            delta_reserved: reserved,
            on_hand_after: next_on_hand,
            reserved_after: next_reserved,
        })
    }
}

/// A step that takes `wanted` units needs them to be there.
fn need(kind: Kind, wanted: i64, available: i64) -> Result<(), Refusal> {
    if wanted > available.max(0) {
        Err(Refusal::TooFew { kind: kind.name(), wanted, available })
    } else {
        Ok(())
    }
}

/// Units wanted from the position with this index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim<'a> {
    /// Index of the position, in the caller's list.
    pub position: usize,
    /// Units wanted, at least 1.
    pub quantity: i64,
    /// The channel that they are sold through.
    pub channel: Option<&'a str>,
}

/// A position that can't give what a basket wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortage<'a> {
    /// Index of the position, in the caller's list.
    pub position: usize,
    /// The channel that wants them; none where it does not matter.
    pub channel: Option<&'a str>,
    /// Units wanted by the whole basket, through this channel.
    pub wanted: i64,
    /// Units that could be promised to it.
    pub available: i64,
}

/// Decides a basket, all or nothing: the positions that can't serve it, empty when it can be granted. The same
/// position wanted by several lines is summed before it is compared, so two lines of one SKU can't both take the
/// last unit. Where units are kept for channels, each channel of the basket is compared by itself, in the order of their names,
/// with what the ones before it leave.
pub fn shortages<'a>(claims: &[Claim<'a>], room: impl Fn(usize) -> Room) -> Vec<Shortage<'a>> {
    if let [Claim { position, quantity, channel }] = *claims {
        let room = room(position);
        return short(&room, position, quantity, channel).into_iter().collect();
    }
    let mut sorted = claims.to_vec();
    sorted.sort_unstable_by_key(|claim| (claim.position, claim.channel));
    let of_position = sorted.chunk_by(|a, b| a.position == b.position);
    of_position.filter_map(|claims| first_short(claims, room(claims[0].position))).collect()
}

/// The first channel that wants more of a position than there is for it.
fn first_short<'a>(claims: &[Claim<'a>], mut room: Room) -> Option<Shortage<'a>> {
    let is_same = |a: &Claim<'_>, b: &Claim<'_>| room.pools.is_empty() || a.channel == b.channel;
    let groups: Vec<&[Claim<'a>]> = claims.chunk_by(is_same).collect();
    for group in groups {
        let Claim { position, channel, .. } = group[0];
        let wanted = group.iter().fold(0_i64, |sum, claim| sum.saturating_add(claim.quantity));
        if let Some(short) = short(&room, position, wanted, channel) {
            return Some(short);
        }
        room.claim(channel, wanted);
    }
    None
}

fn short<'a>(room: &Room, position: usize, wanted: i64, channel: Option<&'a str>) -> Option<Shortage<'a>> {
    let available = room.available(channel);
    let channel = channel.filter(|_| !room.pools.is_empty());
    (wanted > available).then_some(Shortage { position, channel, wanted, available })
}

/// The key of a position. Every writer locks positions in this order, so that no two can deadlock.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// Where.
    pub node: NodeId,
    /// What.
    pub sku: Sku,
}

impl Key {
    /// The id of the position as an aggregate of events: always the same for the same node and SKU.
    pub fn aggregate(&self) -> Uuid {
        derived("position", &format!("{}\n{}", self.node, self.sku))
    }
}
