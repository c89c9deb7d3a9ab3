//! What happened to a fulfillment order besides its buckets, and the reasons that nodes give.

use jiff::Timestamp;

use super::stage::Name;
use crate::id::Sku;

/// What happened to a fulfillment order. Together with the buckets it gives the state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Marks {
    /// Offered to the node.
    pub offered: Option<Timestamp>,
    /// The furthest stage that the order or some of its units came to; none before the offer.
    pub reached: Option<Name>,
    /// The keep time ran out.
    pub expired: Option<Timestamp>,
    /// Ended by more than its buckets tell.
    pub ending: Option<Ending>,
    /// When the last open unit was gone.
    pub ended: Option<Timestamp>,
    /// SKUs that another order missed at the node after the work had begun, or that are claimed beyond what is there, until they
    /// are counted.
    pub doubtful: Vec<Sku>,
}

/// Why a fulfillment order ended, where the buckets alone do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ending {
    /// The node refused it.
    Rejected(RejectReason),
    /// The node was silent too long.
    TimedOut,
    /// Its claim was lost before work began.
    StockLost,
    /// Not collected within the keep time, and shelved again.
    Expired,
}

impl Ending {
    /// Every ending.
    pub const ALL: [Self; 10] = [
        Self::Rejected(RejectReason::NotFound),
        Self::Rejected(RejectReason::Damaged),
        Self::Rejected(RejectReason::TooBusy),
        Self::Rejected(RejectReason::NodeClosed),
        Self::Rejected(RejectReason::Other),
        Self::Rejected(RejectReason::DisplayWorn),
        Self::Rejected(RejectReason::Mismatch),
        Self::TimedOut,
        Self::StockLost,
        Self::Expired,
    ];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rejected(reason) => reason.name(),
            Self::TimedOut => "TIMED_OUT",
            Self::StockLost => "STOCK_LOST",
            Self::Expired => "EXPIRED",
        }
    }

    /// The claim on units still on the shelf lasts until their order has them elsewhere: the goods are there, and the node may
    /// yet be the one that serves them.
    pub const fn keeps(self) -> bool {
        match self {
            Self::TimedOut
            | Self::Rejected(RejectReason::TooBusy | RejectReason::NodeClosed | RejectReason::Other) => true,
            Self::Rejected(
                RejectReason::NotFound
                | RejectReason::Damaged
                | RejectReason::DisplayWorn
                | RejectReason::Mismatch,
            )
            | Self::StockLost
            | Self::Expired => false,
        }
    }

    /// The ending of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|ending| ending.name() == name)
    }
}

/// Why a node refuses work. What it means for the stock is up to inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// The goods are not there.
    NotFound,
    /// The goods are damaged.
    Damaged,
    /// Too much to do.
    TooBusy,
    /// The node is shut.
    NodeClosed,
    /// Another reason.
    Other,
    /// The goods are worn from display.
    DisplayWorn,
    /// Something else lies there.
    Mismatch,
}

impl RejectReason {
    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Damaged => "DAMAGED",
            Self::TooBusy => "TOO_BUSY",
            Self::NodeClosed => "NODE_CLOSED",
            Self::Other => "OTHER",
            Self::DisplayWorn => "DISPLAY_WORN",
            Self::Mismatch => "MISMATCH",
        }
    }
}

/// Why units could not be picked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ShortReason {
    /// Not there.
    NotFound,
    /// Damaged.
    Damaged,
    /// Another reason.
    Other,
    /// Worn from display.
    DisplayWorn,
    /// Something else lies there.
    Mismatch,
}

impl ShortReason {
    /// Every reason.
    pub const ALL: [Self; 5] =
        [Self::NotFound, Self::Damaged, Self::Other, Self::DisplayWorn, Self::Mismatch];

    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::NotFound => "NOT_FOUND",
            Self::Damaged => "DAMAGED",
            Self::Other => "OTHER",
            Self::DisplayWorn => "DISPLAY_WORN",
            Self::Mismatch => "MISMATCH",
        }
    }
}
