//! How much one caller may hold at once, so that no shopper empties the shelves for all others.
//!
//! What counts are tokens that wait for an order: PENDING and LIVE ones, each with all pieces of its cart. With the order,
//! or with its end, a token counts no more. A kit counts as what the cart names, not as its parts.
//!
//! An order that is released before it is paid counts as one of the unpaid orders until its goods are paid or its work has
//! ended. Each token counts with them: it may become such an order, and that is never refused then.

use std::collections::BTreeMap;
use std::fmt;

use crate::id::Sku;
use crate::policy::{Field, Limits};
use crate::words;

/// What a caller holds, or asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holding {
    /// Tokens.
    pub tokens: i64,
    /// Pieces in all.
    pub units: i64,
    /// Pieces of each SKU.
    pub by_sku: BTreeMap<Sku, i64>,
    /// Orders that were released before they were paid, and are not paid yet.
    pub unpaid_orders: i64,
}

impl Holding {
    /// One token for this cart.
    pub fn of_cart(lines: impl IntoIterator<Item = (Sku, i64)>) -> Self {
        let mut holding = Self { tokens: 1, ..Self::default() };
        for (sku, quantity) in lines {
            holding.units = holding.units.saturating_add(quantity);
            let units = holding.by_sku.entry(sku).or_insert(0);
            *units = units.saturating_add(quantity);
        }
        holding
    }
}

/// The most that one caller may hold at once, each with the version of the policy that says it; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Tokens.
    pub tokens: Option<Field<i64>>,
    /// Pieces in all.
    pub units: Option<Field<i64>>,
    /// Pieces of one SKU.
    pub units_per_sku: Option<Field<i64>>,
    /// Unpaid orders, and tokens with them.
    pub unpaid_orders: Option<Field<i64>>,
}

/// What a quota limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limited {
    /// Tokens.
    Tokens,
    /// Pieces in all.
    Units,
    /// Pieces of one SKU.
    UnitsPerSku,
    /// Unpaid orders, and tokens with them.
    UnpaidOrders,
}

impl Limited {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tokens => "TOKENS",
            Self::Units => "UNITS",
            Self::UnitsPerSku => "UNITS_PER_SKU",
            Self::UnpaidOrders => "UNPAID_ORDERS",
        }
    }
}

/// A quota that a hold would exceed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Exceeded {
    /// What it limits.
    pub what: Limited,
    /// The SKU, where it limits the pieces of one.
    pub sku: Option<Sku>,
    /// How much the caller holds.
    pub used: i64,
    /// How much more it asks for.
    pub asked: i64,
    /// The most.
    pub limit: i64,
    /// Number of the policy version that says so; 0: the settings.
    pub policy: i64,
}

impl fmt::Display for Exceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { used, asked, .. } = self;
        let noun = match self.what {
            Limited::Tokens => "promise token",
            Limited::Units | Limited::UnitsPerSku => "unit",
            Limited::UnpaidOrders => {
                let most = words::counted(self.limit, "unpaid order");
                let rest = "promise tokens included, at once; it has";
                return write!(
                    f,
                    "this caller may have at most {most}, {rest} {used} and asks for {asked} more"
                );
            }
        };
        write!(f, "this caller may hold at most {}", words::counted(self.limit, noun))?;
        if let Some(sku) = &self.sku {
            write!(f, " of sku {sku}")?;
        }
        write!(f, " at once; it holds {used} and asks for {asked} more")
    }
}

impl Quota {
    /// Whether it limits anything.
    pub const fn limits(&self) -> bool {
        self.tokens.is_some()
            || self.units.is_some()
            || self.units_per_sku.is_some()
            || self.unpaid_orders.is_some()
    }

    /// The same where policies say some of it.
    #[must_use]
    pub fn with(self, said: &Limits) -> Self {
        Self {
            tokens: said.max_tokens.or(self.tokens),
            units: said.max_units.or(self.units),
            units_per_sku: said.max_units_per_sku.or(self.units_per_sku),
            unpaid_orders: said.max_unpaid_orders.or(self.unpaid_orders),
        }
    }

    /// Whether a caller who holds this much may hold that much more. Of what it holds only the SKUs that it asks for matter.
    pub fn check(&self, held: &Holding, asked: &Holding) -> Result<(), Exceeded> {
        let check = |what, sku: Option<&Sku>, limit: Option<Field<i64>>, used: i64, asked: i64| match limit {
            Some(Field { value: limit, version: policy }) if used.saturating_add(asked) > limit => {
                Err(Exceeded { what, sku: sku.cloned(), used, asked, limit, policy })
            }
            Some(_) | None => Ok(()),
        };
        check(Limited::Tokens, None, self.tokens, held.tokens, asked.tokens)?;
        let unpaid = held.unpaid_orders.saturating_add(held.tokens);
        check(Limited::UnpaidOrders, None, self.unpaid_orders, unpaid, asked.tokens)?;
        check(Limited::Units, None, self.units, held.units, asked.units)?;
        for (sku, asked) in &asked.by_sku {
            let used = held.by_sku.get(sku).copied().unwrap_or(0);
            check(Limited::UnitsPerSku, Some(sku), self.units_per_sku, used, *asked)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sku(name: &str) -> Sku {
        Sku::new(name).unwrap()
    }

    fn cart(lines: &[(&str, i64)]) -> Holding {
        Holding::of_cart(lines.iter().map(|(name, quantity)| (sku(name), *quantity)))
    }

    const fn most(most: i64) -> Field<i64> {
        Field::of_settings(most)
    }

    const QUOTA: Quota = Quota {
        tokens: Some(most(2)),
        units: Some(most(10)),
        units_per_sku: Some(most(6)),
        unpaid_orders: Some(most(4)),
    };

    #[test]
    fn a_hold_up_to_the_limit_is_allowed_and_one_more_is_not() {
        let held = Holding { tokens: 1, ..cart(&[("A", 4)]) };
        assert_eq!(QUOTA.check(&held, &cart(&[("A", 2), ("B", 4)])), Ok(()));
        let error = QUOTA.check(&held, &cart(&[("A", 3)])).unwrap_err();
        let expected = Exceeded {
            what: Limited::UnitsPerSku,
            sku: Some(sku("A")),
            used: 4,
            asked: 3,
            limit: 6,
            policy: 0,
        };
        assert_eq!(error, expected);
        assert_eq!(
            error.to_string(),
            "this caller may hold at most 6 units of sku A at once; it holds 4 and asks for 3 more"
        );
        let error = QUOTA.check(&held, &cart(&[("B", 4), ("C", 3)])).unwrap_err();
        assert_eq!((error.what, error.used, error.asked, error.limit), (Limited::Units, 4, 7, 10));
        let two = Holding { tokens: 2, ..Holding::default() };
        let error = QUOTA.check(&two, &cart(&[("B", 1)])).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this caller may hold at most 2 promise tokens at once; it holds 2 and asks for 1 more"
        );
    }

    #[test]
    fn unpaid_orders_and_tokens_that_may_become_some_count_together() {
        let has = |unpaid_orders| Holding { tokens: 1, unpaid_orders, ..Holding::default() };
        assert_eq!(QUOTA.check(&has(2), &cart(&[("A", 1)])), Ok(()));
        let error = QUOTA.check(&has(3), &cart(&[("A", 1)])).unwrap_err();
        assert_eq!((error.what, error.used, error.asked, error.limit), (Limited::UnpaidOrders, 4, 1, 4));
        assert_eq!(
            error.to_string(),
            "this caller may have at most 4 unpaid orders, promise tokens included, at once; it has 4 and asks for 1 more"
        );
    }

    #[test]
    fn a_cart_adds_up_over_its_lines_and_one_that_is_too_large_alone_is_refused() {
        let error = QUOTA.check(&Holding::default(), &cart(&[("A", 4), ("A", 3)])).unwrap_err();
        assert_eq!((error.what, error.used, error.asked), (Limited::UnitsPerSku, 0, 7));
        let huge = cart(&[("A", i64::MAX), ("B", i64::MAX)]);
        assert_eq!(QUOTA.check(&huge, &huge).unwrap_err().what, Limited::Units);
    }

    #[test]
    fn what_policies_say_goes_before_the_settings_and_a_refusal_names_the_version() {
        let said = Limits { max_units: Some(Field { value: 12, version: 7 }), ..Limits::default() };
        let quota = QUOTA.with(&said);
        assert_eq!((quota.tokens, quota.units_per_sku), (QUOTA.tokens, QUOTA.units_per_sku));
        let held = cart(&[("A", 5), ("B", 5)]);
        assert_eq!(quota.check(&held, &cart(&[("C", 2)])), Ok(()));
        let error = quota.check(&held, &cart(&[("C", 3)])).unwrap_err();
        assert_eq!((error.what, error.limit, error.policy), (Limited::Units, 12, 7));
        assert_eq!(quota.check(&held, &cart(&[("A", 2)])).unwrap_err().policy, 0);
        assert!(Quota::default().with(&said).limits(), "where the settings limit nothing");
    }

    #[test]
    fn what_is_not_limited_is_not_checked() {
        let none = Quota::default();
        assert!(!none.limits() && QUOTA.limits());
        assert_eq!(none.check(&cart(&[("A", i64::MAX)]), &cart(&[("A", i64::MAX)])), Ok(()));
        let tokens = Quota { tokens: Some(most(1)), ..none };
        assert_eq!(tokens.check(&Holding::default(), &cart(&[("A", 1_000)])), Ok(()));
    }
}
