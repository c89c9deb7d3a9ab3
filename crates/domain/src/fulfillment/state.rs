//! Where a fulfillment order stands, as a view of its units.

/// Where a fulfillment order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Not offered yet.
    Planned,
    /// Waits for the node's answer.
    Offered,
    /// The node took it.
    Accepted,
    /// Being picked.
    Picking,
    /// In packages.
    Packed,
    /// Waits for the customer.
    ReadyForPickup,
    /// Waits for the courier.
    AwaitingCourier,
    /// Partly with the customer, the rest waits.
    PartlyCollected,
    /// With a courier or carrier.
    InDelivery,
    /// Nothing is left, and something is with the customer.
    Done,
    /// The node refused it.
    Rejected,
    /// The node was silent too long.
    TimedOut,
    /// Nothing could be picked.
    Short,
    /// Nothing is left, the customer gets nothing.
    Cancelled,
    /// The goods are the node's again: not collected, or not delivered.
    Restocked,
    /// Lost on the way.
    Lost,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 16] = [
        Self::Planned,
        Self::Offered,
        Self::Accepted,
        Self::Picking,
        Self::Packed,
        Self::ReadyForPickup,
        Self::AwaitingCourier,
        Self::PartlyCollected,
        Self::InDelivery,
        Self::Done,
        Self::Rejected,
        Self::TimedOut,
        Self::Short,
        Self::Cancelled,
        Self::Restocked,
        Self::Lost,
    ];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Planned => "PLANNED",
            Self::Offered => "OFFERED",
            Self::Accepted => "ACCEPTED",
            Self::Picking => "PICKING",
            Self::Packed => "PACKED",
            Self::ReadyForPickup => "READY_FOR_PICKUP",
            Self::AwaitingCourier => "AWAITING_COURIER",
            Self::PartlyCollected => "PARTLY_COLLECTED",
            Self::InDelivery => "IN_DELIVERY",
            Self::Done => "DONE",
            Self::Rejected => "REJECTED",
            Self::TimedOut => "TIMED_OUT",
            Self::Short => "SHORT",
            Self::Cancelled => "CANCELLED",
            Self::Restocked => "RESTOCKED",
            Self::Lost => "LOST",
        }
    }

    /// Nothing reaches the customer any more.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Planned
            | Self::Offered
            | Self::Accepted
            | Self::Picking
            | Self::Packed
            | Self::ReadyForPickup
            | Self::AwaitingCourier
            | Self::PartlyCollected
            | Self::InDelivery => false,
            Self::Done
            | Self::Rejected
            | Self::TimedOut
            | Self::Short
            | Self::Cancelled
            | Self::Restocked
            | Self::Lost => true,
        }
    }
}

impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
