//! Safety stock: units of a position that no channel may claim.

/// What is kept back from promises: the figure of the position itself, or what policies say.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SafetyStock {
    /// The figure that was set for the position itself: it wins.
    pub own: Option<i64>,
    /// Units that policies keep back.
    pub units: i64,
    /// Percent of what is on hand that policies keep back. The larger of both counts.
    pub percent: i64,
}

impl SafetyStock {
    /// Units kept back of `on_hand`: a share of it is rounded up. Of nothing nothing is a share.
    pub fn units(&self, on_hand: i64) -> i64 {
        self.own.unwrap_or_else(|| {
            let hundredths = on_hand.max(0).saturating_mul(self.percent);
            self.units.max(hundredths / 100 + i64::from(hundredths % 100 > 0))
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_larger_of_units_and_percent_counts_and_a_share_is_rounded_up() {
        let policy = SafetyStock { own: None, units: 3, percent: 10 };
        let kept: Vec<i64> =
            [-5, 0, 30, 31, 40, 41].into_iter().map(|on_hand| policy.units(on_hand)).collect();
        assert_eq!(kept, [3, 3, 3, 4, 4, 5]);
    }

    #[test]
    fn the_figure_of_the_position_itself_wins() {
        for own in [0, 7] {
            assert_eq!(SafetyStock { own: Some(own), units: 3, percent: 100 }.units(50), own);
        }
    }

    proptest! {
        #[test]
        fn a_share_is_the_least_number_of_units_that_is_not_too_few(
            on_hand in -50..5_000_i64, percent in 0..=100_i64,
        ) {
            let units = SafetyStock { own: None, units: 0, percent }.units(on_hand);
            let whole = on_hand.max(0);
            prop_assert!(units >= 0 && units <= whole);
            prop_assert!(units * 100 >= whole * percent);
            prop_assert!(units == 0 || (units - 1) * 100 < whole * percent);
        }
    }
}
