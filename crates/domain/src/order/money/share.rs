//! What each piece costs, frozen at placement, so that every later refund is exact.
//!
//! A line costs `price x quantity - discount (+ tax)`. What belongs to the whole order (charges) is spread over the lines by
//! largest remainder. The part of a line is then spread over its pieces: each has the floor, and some a minor unit more.
//! So what all pieces of all lines have sums to the total, and giving them back one by one gives back exactly the total.

/// The amounts of one line, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Amounts {
    /// Price of one piece.
    pub unit_price: i64,
    /// Pieces.
    pub quantity: i64,
    /// Discount on the whole line.
    pub discount: i64,
    /// Tax on the whole line.
    pub tax: i64,
    /// The prices include the tax.
    pub tax_included: bool,
}

/// What is wrong with the amounts of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AmountFlaw {
    /// A negative price.
    #[error("must not be negative")]
    NegativePrice,
    /// A negative discount.
    #[error("must not be negative")]
    NegativeDiscount,
    /// A negative tax.
    #[error("must not be negative")]
    NegativeTax,
    /// More discount than the goods cost.
    #[error("must not exceed unit_price x quantity")]
    DiscountTooLarge,
    /// More tax inside the price than the goods cost.
    #[error("must not exceed what the line costs when the price includes it")]
    TaxTooLarge,
    /// Price times quantity does not fit.
    #[error("times quantity is out of range")]
    Overflow,
}

impl AmountFlaw {
    /// The field that is to blame.
    pub const fn field(self) -> &'static str {
        match self {
            Self::NegativePrice | Self::Overflow => "unit_price",
            Self::NegativeDiscount | Self::DiscountTooLarge => "discount",
            Self::NegativeTax | Self::TaxTooLarge => "tax",
        }
    }
}

/// The most that a line or an order may cost, in minor units: sums of a thousand such lines still fit.
pub const MAX_MINOR: i64 = 1_000_000_000_000_000;

impl Amounts {
    /// What the line costs in the end, or everything that is wrong with it.
    pub fn total(&self) -> Result<i64, Vec<AmountFlaw>> {
        let mut flaws = Vec::new();
        if self.unit_price < 0 {
            flaws.push(AmountFlaw::NegativePrice);
        }
        if self.discount < 0 {
            flaws.push(AmountFlaw::NegativeDiscount);
        }
        if self.tax < 0 {
            flaws.push(AmountFlaw::NegativeTax);
        }
        let gross = self.unit_price.checked_mul(self.quantity).filter(|g| *g <= MAX_MINOR);
        let Some(gross) = gross else {
            flaws.push(AmountFlaw::Overflow);
            return Err(flaws);
        };
        if flaws.is_empty() && self.discount > gross {
            flaws.push(AmountFlaw::DiscountTooLarge);
        }
        let limit = if self.tax_included { gross.saturating_sub(self.discount) } else { MAX_MINOR };
        if flaws.is_empty() && self.tax > limit {
            flaws.push(AmountFlaw::TaxTooLarge);
        }
        if !flaws.is_empty() {
            return Err(flaws);
        }
        Ok(gross - self.discount + if self.tax_included { 0 } else { self.tax })
    }
}

/// An amount that is spread over the pieces of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// All pieces together, in minor units.
    pub total_minor: i64,
    /// How many pieces.
    pub pieces: i64,
}

impl Share {
    /// The first pieces have a minor unit more, where the amount can't be divided.
    pub const fn new(total_minor: i64, pieces: i64) -> Self {
        Self { total_minor, pieces }
    }

    /// What a number of pieces have, counted from the first. All of them have the total.
    pub fn of(&self, pieces: i64) -> i64 {
        let pieces = pieces.clamp(0, self.pieces);
        if self.pieces == 0 {
            return 0;
        }
        let each = self.total_minor / self.pieces;
        each * pieces + pieces.min(self.total_minor % self.pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_costs_price_times_quantity_less_discount_and_tax_unless_included() {
        let line = Amounts { unit_price: 255, quantity: 6, discount: 30, tax: 300, tax_included: false };
        assert_eq!(line.total(), Ok(1800));
        assert_eq!(Amounts { tax_included: true, ..line }.total(), Ok(1500));
    }

    #[test]
    fn every_flaw_of_a_line_is_named() {
        let line = Amounts { unit_price: -1, quantity: 1, discount: -1, tax: -1, tax_included: false };
        let flaws = line.total().unwrap_err();
        assert_eq!(flaws.iter().map(|f| f.field()).collect::<Vec<_>>(), ["unit_price", "discount", "tax"]);
        let dear = Amounts { unit_price: i64::MAX, quantity: 2, discount: 0, tax: 0, tax_included: false };
        assert_eq!(dear.total(), Err(vec![AmountFlaw::Overflow]));
        let cheap = Amounts { unit_price: 5, quantity: 2, discount: 11, tax: 0, tax_included: false };
        assert_eq!(cheap.total(), Err(vec![AmountFlaw::DiscountTooLarge]));
    }

    proptest! {
        #[test]
        fn pieces_taken_in_any_steps_have_the_total(
            total in 0_i64..10_000_000,
            pieces in 1_i64..500,
            steps in prop::collection::vec(1_i64..50, 0..50),
        ) {
            let share = Share::new(total, pieces);
            let (mut taken, mut sum) = (0, 0);
            for step in steps.into_iter().chain([pieces]) {
                let next = (taken + step).min(pieces);
                let amount = share.of(next) - share.of(taken);
                let (each, units) = (total / pieces, next - taken);
                prop_assert!((each * units..=(each + 1) * units).contains(&amount));
                (taken, sum) = (next, sum + amount);
            }
            prop_assert_eq!(sum, total);
        }
    }
}
