//! Where the units of a line are, and what that means for the claim on the stock.

use super::method::Rules;
use super::stage::StockEffect;

/// A place of units. The stages of a method use the first six; the others are where units leave its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bucket {
    /// Still on the shelf.
    ToPick,
    /// Taken from the shelf.
    Picked,
    /// In a package.
    Packed,
    /// Waiting at the node for the customer or the courier.
    Ready,
    /// With a courier or carrier.
    InCustody,
    /// With the customer.
    Done,
    /// Could not be picked.
    Short,
    /// The node failed them: refused, timed out, claim lost.
    GivenUp,
    /// Not wanted any more.
    Cancelled,
    /// Came back to the node undelivered.
    Returned,
    /// Lost on the way.
    Lost,
}

/// Where the units of one line are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// Still on the shelf.
    pub to_pick: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// In a package.
    pub packed: i64,
    /// Waiting at the node for the customer or the courier.
    pub ready: i64,
    /// With a courier or carrier.
    pub in_custody: i64,
    /// With the customer.
    pub done: i64,
    /// Could not be picked.
    pub short: i64,
    /// The node failed them: refused, timed out, claim lost.
    pub given_up: i64,
    /// Not wanted any more.
    pub cancelled: i64,
    /// Came back to the node undelivered.
    pub returned: i64,
    /// Lost on the way.
    pub lost: i64,
    /// Of `given_up` and `cancelled`: goods that the node still has to put back.
    pub put_back: i64,
    /// Of `given_up` and `cancelled`: goods that the node has put back.
    pub restocked: i64,
    /// Of `given_up`: units still claimed at the node, until their order has them elsewhere.
    pub kept: i64,
}

/// What units are for the claim on the stock. The three sum to what was asked at all times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Claims {
    /// Still claimed at the node.
    pub held: i64,
    /// Have left the node.
    pub consumed: i64,
    /// Not claimed any more, and still the node's.
    pub released: i64,
}

impl Buckets {
    /// All units still to be picked.
    pub fn all_to_pick(quantity: i64) -> Self {
        Self { to_pick: quantity, ..Self::default() }
    }

    /// The units in one place.
    pub const fn get(&self, bucket: Bucket) -> i64 {
        match bucket {
            Bucket::ToPick => self.to_pick,
            Bucket::Picked => self.picked,
            Bucket::Packed => self.packed,
            Bucket::Ready => self.ready,
            Bucket::InCustody => self.in_custody,
            Bucket::Done => self.done,
            Bucket::Short => self.short,
            Bucket::GivenUp => self.given_up,
            Bucket::Cancelled => self.cancelled,
            Bucket::Returned => self.returned,
            Bucket::Lost => self.lost,
        }
    }

    const fn place(&mut self, bucket: Bucket) -> &mut i64 {
        match bucket {
            Bucket::ToPick => &mut self.to_pick,
            Bucket::Picked => &mut self.picked,
            Bucket::Packed => &mut self.packed,
            Bucket::Ready => &mut self.ready,
            Bucket::InCustody => &mut self.in_custody,
            Bucket::Done => &mut self.done,
            Bucket::Short => &mut self.short,
            Bucket::GivenUp => &mut self.given_up,
            Bucket::Cancelled => &mut self.cancelled,
            Bucket::Returned => &mut self.returned,
            Bucket::Lost => &mut self.lost,
        }
    }

    /// Moves units that are there from one place to another.
    pub(super) const fn shift(&mut self, from: Bucket, to: Bucket, units: i64) {
        *self.place(from) -= units;
        *self.place(to) += units;
    }

    /// All units, wherever they are.
    pub const fn sum(&self) -> i64 {
        self.open() + self.done + self.failed() + self.cancelled + self.returned + self.lost
    }

    /// Units that may still reach the customer.
    pub const fn open(&self) -> i64 {
        self.to_pick + self.picked + self.packed + self.ready + self.in_custody
    }

    /// Units that the node failed.
    pub const fn failed(&self) -> i64 {
        self.short + self.given_up
    }

    /// Units whose claim on the stock has ended and that did not leave the node.
    pub const fn released(&self) -> i64 {
        self.failed() + self.cancelled - self.kept - self.put_back
    }

    /// What the units are for the claim on the stock, by the stages of their method. Goods that come back or get lost have
    /// left the node: they stay consumed, and their return is a movement of its own.
    pub fn claims(&self, rules: &Rules) -> Claims {
        let of = |effect| rules.buckets(effect).map(|bucket| self.get(bucket)).sum::<i64>();
        Claims {
            held: of(StockEffect::Held) + self.put_back + self.kept,
            consumed: of(StockEffect::Consumed) + self.returned + self.lost,
            released: self.released(),
        }
    }

    /// Takes up to `asked` units that are at the node off the path, those first that cost the least: in the order of the
    /// stages. Goods that left the shelf must be put back; with `keeps` the claim on the others lasts.
    pub(super) fn leave(&mut self, rules: &Rules, to: Bucket, asked: i64, keeps: bool) -> i64 {
        let mut left = asked;
        for bucket in rules.buckets(StockEffect::Held) {
            let units = left.min(self.get(bucket));
            self.shift(bucket, to, units);
            if bucket != Bucket::ToPick {
                self.put_back += units;
            } else if keeps {
                self.kept += units;
            }
            left -= units;
        }
        asked - left
    }

    /// The law of every line: no bucket below zero, the sum is what was asked, sub-counts fit in what they are a part of.
    pub const fn hold(&self, quantity: i64) -> bool {
        self.to_pick >= 0
            && self.picked >= 0
            && self.packed >= 0
            && self.ready >= 0
            && self.in_custody >= 0
            && self.done >= 0
            && self.short >= 0
            && self.given_up >= 0
            && self.cancelled >= 0
            && self.returned >= 0
            && self.lost >= 0
            && self.put_back >= 0
            && self.restocked >= 0
            && self.kept >= 0
            && self.sum() == quantity
            && self.kept <= self.given_up
            && self.put_back + self.restocked + self.kept <= self.given_up + self.cancelled
    }
}
