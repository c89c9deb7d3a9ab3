//! Where the pieces of a line are. The buckets of a line always sum to what was ordered: they are the line's own pieces,
//! which no leg has, and the sum over its legs.

/// Pieces of one line by where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Buckets {
    /// Not yet reserved, or not any more.
    pub open: i64,
    /// Claimed at a node.
    pub reserved: i64,
    /// Waiting for supply.
    pub backordered: i64,
    /// A node works on them.
    pub allocated: i64,
    /// Taken from the shelf.
    pub picked: i64,
    /// In a package.
    pub packed: i64,
    /// Waiting for the customer.
    pub ready: i64,
    /// With a courier.
    pub in_custody: i64,
    /// Handed over.
    pub delivered: i64,
    /// Cancelled.
    pub cancelled: i64,
    /// Lost.
    pub lost: i64,
}

impl Buckets {
    /// All buckets together: what was ordered.
    pub const fn sum(&self) -> i64 {
        self.cancellable() + self.in_custody + self.delivered + self.cancelled + self.lost
    }

    /// Pieces that the customer still gets or has.
    pub const fn live(&self) -> i64 {
        self.cancellable() + self.in_custody + self.delivered
    }

    /// Pieces that a cancel may still ask for: everything before the handover.
    pub const fn cancellable(&self) -> i64 {
        self.open + self.reserved + self.backordered + self.in_work()
    }

    /// Pieces that a node works on or has made ready.
    pub const fn in_work(&self) -> i64 {
        self.allocated + self.picked + self.packed + self.ready
    }

    /// No piece waits for anything any more.
    pub const fn is_over(&self) -> bool {
        self.cancellable() + self.in_custody == 0
    }

    /// Adds the pieces of another line, or of a leg.
    pub(super) const fn add(&mut self, b: &Self) {
        self.open += b.open;
        self.reserved += b.reserved;
        self.backordered += b.backordered;
        self.allocated += b.allocated;
        self.picked += b.picked;
        self.packed += b.packed;
        self.ready += b.ready;
        self.in_custody += b.in_custody;
        self.delivered += b.delivered;
        self.cancelled += b.cancelled;
        self.lost += b.lost;
    }
}

/// Pieces of one line that no leg has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Own {
    /// Not yet reserved, or not any more.
    pub open: i64,
    /// Waiting for supply.
    pub backordered: i64,
    /// Cancelled before a node had them.
    pub cancelled: i64,
    /// Lost.
    pub lost: i64,
}

impl Own {
    /// The line buckets that these pieces are in.
    pub(super) fn buckets(&self) -> Buckets {
        let Self { open, backordered, cancelled, lost } = *self;
        Buckets { open, backordered, cancelled, lost, ..Buckets::default() }
    }

    /// Pieces that wait for stock.
    pub const fn waiting(&self) -> i64 {
        self.open + self.backordered
    }

    /// Cancels pieces that wait for stock: those not reserved first.
    pub(super) fn cancel(&mut self, quantity: i64) {
        let from_open = quantity.min(self.open);
        self.open -= from_open;
        self.backordered -= quantity - from_open;
        self.cancelled += quantity;
    }
}
