//! The ledger: one entry for each change of a position, append-only.

/// Why a position changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// First stock or a receipt.
    Receipt,
    /// A till sale, maybe reported late.
    Sale,
    /// A correction by staff.
    Adjustment,
    /// A count: sets `on_hand` and unblocks the position.
    Count,
    /// The snapshot of an outside system: sets `on_hand`.
    Snapshot,
    /// A reservation took a claim.
    Reserve,
    /// A claim was released.
    Release,
    /// A claim ran out.
    Expire,
    /// Goods left the node against a claim.
    Consume,
    /// Sellable units became unsellable.
    Quarantine,
    /// Unsellable units became sellable again.
    ReleaseQuarantine,
    /// Goods were written off.
    WriteOff,
    /// Nothing was found at pick: nothing is promised until a count.
    CountBlock,
    /// A safety stock was set for the position itself.
    SafetyStock,
    /// The position has no safety stock of its own any more: policies decide.
    SafetyStockByPolicy,
}

/// Every kind with its name in SQL and on the wire.
pub const KINDS: [(Kind, &str); 15] = [
    (Kind::Receipt, "RECEIPT"),
    (Kind::Sale, "SALE"),
    (Kind::Adjustment, "ADJUSTMENT"),
    (Kind::Count, "COUNT"),
    (Kind::Snapshot, "SNAPSHOT"),
    (Kind::Reserve, "RESERVE"),
    (Kind::Release, "RELEASE"),
    (Kind::Expire, "EXPIRE"),
    (Kind::Consume, "CONSUME"),
    (Kind::Quarantine, "QUARANTINE"),
    (Kind::ReleaseQuarantine, "RELEASE_QUARANTINE"),
    (Kind::WriteOff, "WRITE_OFF"),
    (Kind::CountBlock, "COUNT_BLOCK"),
    (Kind::SafetyStock, "SAFETY_STOCK"),
    (Kind::SafetyStockByPolicy, "SAFETY_STOCK_BY_POLICY"),
];

impl Kind {
    /// Its name in SQL and on the wire.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(kind, _)| *kind == self).map_or("", |(_, name)| name)
    }

    /// The kind with this name.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(_, known)| *known == name).map(|(kind, _)| *kind)
    }

    /// True for the kinds that an outside system may report as a delta.
    pub fn is_reported(self) -> bool {
        match self {
            Self::Receipt | Self::Sale | Self::Adjustment | Self::WriteOff => true,
            Self::Count
            | Self::Snapshot
            | Self::Reserve
            | Self::Release
            | Self::Expire
            | Self::Consume
            | Self::Quarantine
            | Self::ReleaseQuarantine
            | Self::CountBlock
            | Self::SafetyStock
            | Self::SafetyStockByPolicy => false,
        }
    }
}

/// What one change did to a position. The balances after it let anyone check the chain row by row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Why.
    pub kind: Kind,
    /// Change of `on_hand`.
    pub delta_on_hand: i64,
    /// Change of `reserved`.
    pub delta_reserved: i64,
    /// `on_hand` after it.
    pub on_hand_after: i64,
    /// `reserved` after it.
    pub reserved_after: i64,
}
