//! Counts of goods.

use std::fmt;

/// Why a number is not a quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuantityError {
    /// Zero or less.
    #[error("must be at least 1")]
    NotPositive,
    /// More than any line may ask for.
    #[error("must be at most {}", Quantity::MAX.get())]
    TooMany,
}

/// A number of units that someone asks for: at least one, at most a million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Quantity(i64);

impl Quantity {
    /// The most that one line may ask for.
    pub const MAX: Self = Self(1_000_000);
    /// One unit.
    pub const ONE: Self = Self(1);

    /// This number of units.
    pub const fn new(units: i64) -> Result<Self, QuantityError> {
        if units <= 0 {
            Err(QuantityError::NotPositive)
        } else if units > Self::MAX.0 {
            Err(QuantityError::TooMany)
        } else {
            Ok(Self(units))
        }
    }

    /// The number.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// Both together, if that is still a quantity.
    pub const fn checked_add(self, other: Self) -> Result<Self, QuantityError> {
        Self::new(self.0 + other.0)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl TryFrom<i64> for Quantity {
    type Error = QuantityError;

    fn try_from(units: i64) -> Result<Self, QuantityError> {
        Self::new(units)
    }
}

impl From<Quantity> for i64 {
    fn from(quantity: Quantity) -> i64 {
        quantity.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_positive_and_sane() {
        for units in [0, -1, i64::MIN] {
            assert_eq!(Quantity::new(units), Err(QuantityError::NotPositive));
        }
        for units in [1_000_001, i64::MAX] {
            assert_eq!(Quantity::new(units), Err(QuantityError::TooMany));
        }
        assert_eq!(Quantity::MAX.checked_add(Quantity::ONE), Err(QuantityError::TooMany));
        assert_eq!(Quantity::new(3).unwrap().get(), 3);
    }
}
