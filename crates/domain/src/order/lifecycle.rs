//! Where an order stands: never set by hand, always computed from what is true of it.

use super::buckets::Buckets;
use crate::time::Timestamp;

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Accepted by us; stock held.
    Placed,
    /// No blocks, stock confirmed.
    Confirmed,
    /// A node works on at least one piece, or has handed one over.
    InFulfillment,
    /// Every piece is delivered, cancelled or lost, at least one delivered.
    Completed,
    /// No piece is left to deliver and none was delivered.
    Cancelled,
    /// Not paid in time; the stock was released, a payment within the grace takes it again.
    PaymentLapsed,
    /// Not paid within the grace: over for good.
    Expired,
}

impl Status {
    /// Every status.
    pub const ALL: [Self; 7] = [
        Self::Placed,
        Self::Confirmed,
        Self::InFulfillment,
        Self::Completed,
        Self::Cancelled,
        Self::PaymentLapsed,
        Self::Expired,
    ];

    /// The name in storage and on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Placed => "PLACED",
            Self::Confirmed => "CONFIRMED",
            Self::InFulfillment => "IN_FULFILLMENT",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::PaymentLapsed => "PAYMENT_LAPSED",
            Self::Expired => "EXPIRED",
        }
    }

    /// The status of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }

    /// Nothing happens to the goods any more. (Money may still go back.)
    pub const fn is_over(self) -> bool {
        match self {
            Self::Completed | Self::Cancelled | Self::Expired => true,
            Self::Placed | Self::Confirmed | Self::InFulfillment | Self::PaymentLapsed => false,
        }
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// All that a status depends on.
#[derive(Debug, Clone, Copy)]
pub struct Facts {
    /// The buckets of all lines, added up.
    pub buckets: Buckets,
    /// Something stands in the way of fulfillment.
    pub is_blocked: bool,
    /// When the payment had not come in time, unless it has come since.
    pub lapsed_at: Option<Timestamp>,
    /// When the stock was confirmed.
    pub confirmed_at: Option<Timestamp>,
    /// When the grace was over without payment.
    pub expired_at: Option<Timestamp>,
}

/// The status that these facts make.
pub fn status(facts: &Facts) -> Status {
    let Facts { buckets, is_blocked, lapsed_at, confirmed_at, expired_at } = facts;
    if expired_at.is_some() {
        Status::Expired
    } else if buckets.is_over() {
        if buckets.delivered > 0 { Status::Completed } else { Status::Cancelled }
    } else if lapsed_at.is_some() {
        Status::PaymentLapsed
    } else if buckets.in_work() + buckets.in_custody + buckets.delivered > 0 {
        Status::InFulfillment
    } else if confirmed_at.is_some() && !is_blocked {
        Status::Confirmed
    } else {
        Status::Placed
    }
}
