//! LIMITS: how much one caller may hold at once.

use super::Check;

body! {
    /// What a version says about limits.
    LimitsBody,
    /// The limits that apply to a caller.
    Limits {
        /// Tokens that wait for an order.
        max_tokens: i64,
        /// Pieces in all.
        max_units: i64,
        /// Pieces of one SKU.
        max_units_per_sku: i64,
        /// Orders that are released before they are paid, and are not paid yet.
        max_unpaid_orders: i64,
    }
}

impl LimitsBody {
    pub(super) fn check(&self, check: &mut Check) {
        check.number("max_tokens", self.max_tokens, 1, 1_000_000);
        check.number("max_units", self.max_units, 1, 1_000_000_000);
        check.number("max_units_per_sku", self.max_units_per_sku, 1, 1_000_000_000);
        check.number("max_unpaid_orders", self.max_unpaid_orders, 1, 1_000_000);
    }
}
