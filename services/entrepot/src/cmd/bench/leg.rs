//! The legs of an order, as the bare side of a bench writes them.

use uuid::Uuid;

/// What one node does for an order.
pub(super) struct Leg {
    pub(super) id: Uuid,
    /// The number of its group, which is its own too.
    pub(super) group: i64,
    /// The number of its first line in the order.
    pub(super) first: i64,
    /// One piece of each.
    pub(super) skus: Vec<String>,
}

impl Leg {
    /// The numbers of its lines in the order.
    pub(super) fn lines(&self) -> impl Iterator<Item = i64> {
        (self.first..).take(self.skus.len())
    }
}

/// A leg for each group.
pub(super) fn legs(groups: &[Vec<String>]) -> Vec<Leg> {
    let mut next = 1;
    let leg = |(group, skus): (i64, &Vec<String>)| {
        let first = next;
        next += i64::try_from(skus.len()).unwrap_or_default();
        Leg { id: Uuid::now_v7(), group, first, skus: skus.clone() }
    };
    (1..).zip(groups).map(leg).collect()
}
