//! The rows that all money of an order is made of.

use std::fmt;

use crate::id::LineNo;
use crate::time::Timestamp;

/// What a row is about.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// A tender as a whole.
    Tender,
    /// A tender as a whole: captured of what was authorized before.
    Authorization,
    /// More than was due.
    Excess,
    /// The goods, with the tax that is inside the price taken off.
    Goods,
    /// The discount of a promotion; empty: of the line. Its amounts are negative.
    Discount(String),
    /// The tax.
    Tax,
    /// A charge, by its code.
    Charge(String),
}

impl Component {
    /// The component of this text, which [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, rest) = text.split_once(':').map_or((text, None), |(kind, rest)| (kind, Some(rest)));
        Some(match (kind, rest) {
            ("TENDER", None) => Self::Tender,
            ("AUTHORIZATION", None) => Self::Authorization,
            ("EXCESS", None) => Self::Excess,
            ("GOODS", None) => Self::Goods,
            ("DISCOUNT", Some(promotion)) => Self::Discount(promotion.to_owned()),
            ("TAX", None) => Self::Tax,
            ("CHARGE", Some(code)) => Self::Charge(code.to_owned()),
            _ => return None,
        })
    }
}

impl fmt::Display for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tender => f.write_str("TENDER"),
            Self::Authorization => f.write_str("AUTHORIZATION"),
            Self::Excess => f.write_str("EXCESS"),
            Self::Goods => f.write_str("GOODS"),
            Self::Discount(promotion) => write!(f, "DISCOUNT:{promotion}"),
            Self::Tax => f.write_str("TAX"),
            Self::Charge(code) => write!(f, "CHARGE:{code}"),
        }
    }
}

/// What happened to an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Set aside at the provider.
    Authorized,
    /// Received.
    Captured,
    /// The provider took an authorization back.
    Failed,
    /// Authorized, and not to be captured any more.
    Voided,
    /// The provider let go of what was voided.
    Released,
    /// Not paid, and not asked for any more.
    Waived,
    /// Captured, and asked back.
    Claimed,
    /// Kept, though the pieces it was for are gone.
    Retained,
    /// Paid back.
    Refunded,
}

impl Cause {
    /// Every cause.
    pub const ALL: [Self; 9] = [
        Self::Authorized,
        Self::Captured,
        Self::Failed,
        Self::Voided,
        Self::Released,
        Self::Waived,
        Self::Claimed,
        Self::Retained,
        Self::Refunded,
    ];

    /// The name in storage.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Authorized => "AUTHORIZED",
            Self::Captured => "CAPTURED",
            Self::Failed => "FAILED",
            Self::Voided => "VOIDED",
            Self::Released => "RELEASED",
            Self::Waived => "WAIVED",
            Self::Claimed => "CLAIMED",
            Self::Retained => "RETAINED",
            Self::Refunded => "REFUNDED",
        }
    }

    /// The cause of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|cause| cause.name() == name)
    }
}

/// One fact about an amount. Rows are added, never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The tender; empty: no tender pays it.
    pub tender: String,
    /// The line; 0: the tender as a whole.
    pub line: LineNo,
    /// The first piece of the line, from 1; 0: the tender as a whole.
    pub first: i64,
    /// How many pieces from there.
    pub units: i64,
    /// What it is about.
    pub component: Component,
    /// What happened.
    pub cause: Cause,
    /// How much, in minor units; a discount is negative.
    pub amount_minor: i64,
    /// The provider's reference of a receipt; empty: none.
    pub reference: String,
    /// The number of the leg at whose handover it was paid; 0: elsewhere.
    pub leg: i64,
    /// When.
    pub at: Timestamp,
}

impl Row {
    /// A row about a tender as a whole.
    pub(in crate::order) fn of_tender(
        tender: &str,
        component: Component,
        cause: Cause,
        amount_minor: i64,
        at: Timestamp,
    ) -> Self {
        Self {
            tender: tender.to_owned(),
            line: 0,
            first: 0,
            units: 0,
            component,
            cause,
            amount_minor,
            reference: String::new(),
            leg: 0,
            at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn components_read_back() {
        for component in [
            Component::Tender,
            Component::Authorization,
            Component::Excess,
            Component::Goods,
            Component::Discount(String::new()),
            Component::Discount("SUMMER".to_owned()),
            Component::Tax,
            Component::Charge("POSTAGE:EXPRESS".to_owned()),
        ] {
            assert_eq!(Component::parse(&component.to_string()), Some(component));
        }
        assert_eq!(Component::parse("GOODS:1"), None);
    }
}
