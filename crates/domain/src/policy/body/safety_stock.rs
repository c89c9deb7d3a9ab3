//! `SAFETY_STOCK`: units that are kept back at each position.

use super::Check;
use crate::policy::Field;

body! {
    /// What a version says about safety stock.
    SafetyStockBody,
    /// The safety stock that applies to a thing: the larger of both. The fields may come from different versions, so a
    /// version that means the whole of it says both.
    SafetyStock {
        /// Units.
        units: i64,
        /// Percent of what is on hand, rounded up.
        percent: i32,
    }
}

impl SafetyStockBody {
    /// The most units.
    pub const MAX_UNITS: i64 = 1_000_000_000;

    pub(super) fn check(&self, check: &mut Check) {
        check.number("units", self.units, 0, Self::MAX_UNITS);
        check.number("percent", self.percent, 0, 100);
    }
}

impl SafetyStock {
    /// The units that are kept back of what is on hand, and the version that says so; none: no version says anything.
    pub fn kept(&self, on_hand: i64) -> Option<Field<i64>> {
        let share = self.percent.map(|percent| Field {
            value: rounded_up(on_hand.max(0), percent.value),
            version: percent.version,
        });
        // Of two equal numbers the one in units is named.
        share.into_iter().chain(self.units).max_by_key(|field| field.value)
    }
}

/// Percent of a number, rounded up.
fn rounded_up(number: i64, percent: i32) -> i64 {
    let share = (i128::from(number) * i128::from(percent.max(0)) + 99) / 100;
    i64::try_from(share).unwrap_or(i64::MAX)
}
