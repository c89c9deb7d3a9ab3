//! Policies: numbers of the retailer that change while the platform runs.
//!
//! A [`Version`] says some numbers of one [`Kind`] for a [`Scope`] and never changes. Which one is in force when follows
//! from its activations ([`mod@in_force`]). A [`Book`] holds the versions that a process knows, and answers what applies to an
//! [`Asked`] thing at an instant: each number with the version that said it, or nothing where the settings speak.
//!
//! Always true: of two versions that fit, the higher rank wins, field by field; equal ranks are refused beforehand
//! ([`Book::ambiguous_with`]), and are decided by the text of the scope where they meet all the same; a version outside its time in force never wins; no
//! activation and no roll back changes what was in force before.

pub mod body;
pub mod book;
pub mod explain;
pub mod in_force;
mod index;
pub mod meets;
pub mod scope;

#[cfg(test)]
mod properties;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;

use jiff::Timestamp;

pub use body::Body;
pub use body::clocks::{Clocks, ClocksBody};
pub use body::limits::{Limits, LimitsBody};
pub use body::pools::{AppliedPool, Pool, PoolsBody};
pub use body::safety_stock::{SafetyStock, SafetyStockBody};
pub use body::scenario::{Scenario, ScenarioBody};
pub use body::sourcing::{Sourcing, SourcingBody};
pub use book::{Book, Group, NodeFacts};
pub use explain::{Explained, Origin};
pub use in_force::{Activation, activate, buried, continued, in_force, roll_back};
pub use scope::{Asked, Scope};

use crate::id::Uuid;

/// What a policy is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// How long each waiting state lasts.
    Clocks,
    /// How nodes are chosen, and how often.
    Sourcing,
    /// Units that are kept back at each position.
    SafetyStock,
    /// Units that only one channel may claim.
    Pools,
    /// How much one caller may hold.
    Limits,
    /// What is promised while something unusual goes on.
    Scenario,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::Clocks, Self::Sourcing, Self::SafetyStock, Self::Pools, Self::Limits, Self::Scenario];

    /// The name on the wire and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Clocks => "CLOCKS",
            Self::Sourcing => "SOURCING",
            Self::SafetyStock => "SAFETY_STOCK",
            Self::Pools => "POOLS",
            Self::Limits => "LIMITS",
            Self::Scenario => "SCENARIO",
        }
    }

    /// The kind of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A field that a version says something about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field<T> {
    /// What it says.
    pub value: T,
    /// Number of the version; 0: the settings of the process.
    pub version: i64,
}

impl<T> Field<T> {
    /// What the settings say.
    pub const fn of_settings(value: T) -> Self {
        Self { value, version: 0 }
    }
}

/// Something wrong with a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The field, from the version on, e.g. `scope.sku` or `pools.pools[1].units`.
    pub field: String,
    /// What it must be.
    pub must: String,
}

impl Fault {
    /// A fault of a field.
    pub fn new(field: impl Into<String>, must: impl Into<String>) -> Self {
        Self { field: field.into(), must: must.into() }
    }
}

/// When a version may be in force, half open; `None`: no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Valid {
    /// From then on.
    pub from: Option<Timestamp>,
    /// Until then.
    pub until: Option<Timestamp>,
}

impl Valid {
    /// Whether it may be in force at some instant from `now` on.
    pub fn is_left(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    /// Whether both may be in force at one instant.
    pub fn overlaps(&self, other: &Self) -> bool {
        let before =
            |a: &Self, b: &Self| a.until.is_some_and(|until| b.from.is_some_and(|from| until <= from));
        !before(self, other) && !before(other, self)
    }
}

/// A time in force, half open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// From then on.
    pub from: Timestamp,
    /// Until then; `None`: until another version.
    pub until: Option<Timestamp>,
}

impl Span {
    /// Whether the instant is in it.
    pub fn contains(&self, at: Timestamp) -> bool {
        self.from <= at && self.until.is_none_or(|until| at < until)
    }
}

/// One version of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// Its id.
    pub id: Uuid,
    /// Its number, rising over all kinds, from 1.
    pub version: i64,
    /// What it applies to.
    pub scope: Scope,
    /// When it may be in force.
    pub valid: Valid,
    /// When it was, is and will be in force, in order of time; the spans do not overlap.
    pub in_force: Vec<Span>,
    /// What it says.
    pub body: Body,
}

impl Version {
    /// What it is about.
    pub const fn kind(&self) -> Kind {
        self.body.kind()
    }

    /// Whether it is in force at that instant.
    pub fn is_in_force(&self, at: Timestamp) -> bool {
        self.in_force.iter().any(|span| span.contains(at))
    }
}

/// All that is wrong with a new version; empty: nothing.
pub fn check(scope: &Scope, valid: Valid, body: &Body) -> Vec<Fault> {
    let mut faults = scope.check(body.kind());
    if let (Some(from), Some(until)) = (valid.from, valid.until)
        && until <= from
    {
        faults.push(Fault::new("until_time", "must be later than from_time"));
    }
    faults.extend(body.check(scope));
    faults
}
