//! Kits: items that are sold as one and kept as parts.

use crate::id::Sku;

/// The most parts a kit may have.
pub const MAX_PARTS: usize = 20;
/// The most pieces of one part in one kit.
pub const MAX_PER_KIT: i64 = 1_000;

/// One part, and how many pieces of it make one kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The part.
    pub sku: Sku,
    /// Pieces in one kit.
    pub per_kit: i64,
}

/// Why a list of parts is not a kit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A kit has 1 to 20 parts.
    #[error("a kit has 1 to {MAX_PARTS} parts")]
    Parts,
    /// Each part is there 1 to 1,000 times.
    #[error("a kit has 1 to {MAX_PER_KIT} pieces of {0}")]
    PerKit(Sku),
    /// A duplicate part.
    #[error("duplicate part {0}")]
    Twice(Sku),
    /// A kit can't contain itself.
    #[error("{0} cannot be a part of itself")]
    Itself(Sku),
}

/// The parts of one kit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kit(Vec<Part>);

impl Kit {
    /// Checks the parts of the kit `sku`. Whether a part is a kit itself is for the owner of the SKU master to see.
    pub fn new(sku: &Sku, parts: Vec<Part>) -> Result<Self, Malformed> {
        if parts.is_empty() || parts.len() > MAX_PARTS {
            return Err(Malformed::Parts);
        }
        for (index, part) in parts.iter().enumerate() {
            if !(1..=MAX_PER_KIT).contains(&part.per_kit) {
                return Err(Malformed::PerKit(part.sku.clone()));
            }
            if part.sku == *sku {
                return Err(Malformed::Itself(part.sku.clone()));
            }
            if parts[..index].iter().any(|earlier| earlier.sku == part.sku) {
                return Err(Malformed::Twice(part.sku.clone()));
            }
        }
        Ok(Self(parts))
    }

    /// The parts.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// How many whole kits the parts make: the minimum over them.
    pub fn available(&self, atp: impl Fn(&Sku) -> i64) -> i64 {
        self.0.iter().map(|part| atp(&part.sku).max(0) / part.per_kit).min().unwrap_or(0)
    }

    /// The pieces of each part in this many kits; `None` when a number leaves its range.
    pub fn explode(&self, kits: i64) -> Option<Vec<(&Part, i64)>> {
        self.0.iter().map(|part| Some((part, part.per_kit.checked_mul(kits)?))).collect()
    }
}
