//! What is asked of policies, as the verbs take it.

use domain::id::Uuid;
use domain::policy::{Body, Kind, Scope, Valid};
use domain::time::Timestamp;

/// A new version.
pub(crate) struct Draft {
    /// What it applies to.
    pub(crate) scope: Scope,
    /// When it may be in force.
    pub(crate) valid: Valid,
    /// What it says.
    pub(crate) body: Body,
    /// Why.
    pub(crate) reason: String,
}

/// A version is put in force.
pub(crate) struct Activate {
    /// The version.
    pub(crate) id: Uuid,
    /// From then on; none: as early as possible.
    pub(crate) from: Option<Timestamp>,
    /// Until then; none: as long as the version allows.
    pub(crate) until: Option<Timestamp>,
}

/// A version is taken back.
pub(crate) struct Withdraw {
    /// The version.
    pub(crate) id: Uuid,
    /// Why.
    pub(crate) reason: String,
}

/// What is in force for a scope ends.
pub(crate) struct RollBack {
    /// The kind.
    pub(crate) kind: Kind,
    /// The scope.
    pub(crate) scope: Scope,
    /// Why.
    pub(crate) reason: String,
}

/// A page of versions.
pub(crate) struct List {
    /// Only this kind.
    pub(crate) kind: Option<Kind>,
    /// Only those that are in force.
    pub(crate) only_in_force: bool,
    /// Only those with lower numbers.
    pub(crate) before: i64,
    /// The most.
    pub(crate) size: usize,
}

/// What applies to a thing is asked.
pub(crate) struct Explain {
    /// The kind.
    pub(crate) kind: Kind,
    /// The thing: what it is, where a scope says what it must be.
    pub(crate) target: Scope,
    /// At which instant; none: now.
    pub(crate) at: Option<Timestamp>,
}
