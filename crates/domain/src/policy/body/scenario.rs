//! SCENARIO: what is promised while something unusual goes on, e.g. a storm.
//!
//! Scenarios merge field by field like all other kinds. The paused methods are one field: of two versions that pause some,
//! the more specific one says which, so a node that may deliver again is given a version that pauses fewer. A version that
//! pauses none says nothing about it. The name is that of the most specific version; each field names its own.

use std::collections::BTreeSet;

use jiff::SignedDuration;

use super::{Check, days, minutes};
use crate::fulfillment::method::Method;
use crate::policy::Field;

/// What a version says about something unusual.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScenarioBody {
    /// Its name: 1 to 32 of `A-Z 0-9 _`.
    pub name: String,
    /// Methods that are not promised; empty: nothing is said about it.
    pub paused_methods: Vec<Method>,
    /// More preparation time for each promise, in opening time.
    pub extra_preparation: Option<SignedDuration>,
    /// No node farther from the customer than this, in metres.
    pub max_radius_m: Option<i64>,
}

/// The scenario that applies to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scenario<'a> {
    /// Name of the most specific version.
    pub name: Option<Field<&'a str>>,
    /// Methods that are not promised; never empty.
    pub paused_methods: Option<Field<&'a [Method]>>,
    /// More preparation time for each promise, in opening time.
    pub extra_preparation: Option<Field<SignedDuration>>,
    /// No node farther from the customer than this, in metres.
    pub max_radius_m: Option<Field<i64>>,
}

impl ScenarioBody {
    /// The names of its fields.
    pub const FIELDS: &[&str] = &["name", "paused_methods", "extra_preparation", "max_radius_m"];

    /// Whether it says something about each field.
    pub(in crate::policy) const fn says(&self) -> [bool; Self::FIELDS.len()] {
        [
            !self.name.is_empty(),
            !self.paused_methods.is_empty(),
            self.extra_preparation.is_some(),
            self.max_radius_m.is_some(),
        ]
    }

    pub(super) fn check(&self, check: &mut Check) {
        let is_named = |c: char| matches!(c, 'A'..='Z' | '0'..='9' | '_');
        if !(1..=32).contains(&self.name.len()) || !self.name.chars().all(is_named) {
            check.fault("name", "must be 1 to 32 characters of A-Z, 0-9 and _");
        }
        let mut methods = BTreeSet::new();
        for (i, method) in self.paused_methods.iter().enumerate() {
            if !methods.insert(method) {
                check.fault(&format!("paused_methods[{i}]"), "must not name a method twice");
            }
        }
        check.length("extra_preparation", self.extra_preparation, minutes(1), days(7));
        check.number("max_radius_m", self.max_radius_m, 1, 20_100_000);
    }
}

impl<'a> Scenario<'a> {
    /// Takes what a body of lower or equal rank says about the fields that are still open. Answers whether none is.
    pub(in crate::policy) fn fill(&mut self, body: &'a ScenarioBody, version: i64) -> bool {
        if self.name.is_none() && !body.name.is_empty() {
            self.name = Some(Field { value: &body.name, version });
        }
        if self.paused_methods.is_none() && !body.paused_methods.is_empty() {
            self.paused_methods = Some(Field { value: &body.paused_methods, version });
        }
        self.extra_preparation =
            self.extra_preparation.or(body.extra_preparation.map(|value| Field { value, version }));
        self.max_radius_m = self.max_radius_m.or(body.max_radius_m.map(|value| Field { value, version }));
        self.name.is_some()
            && self.paused_methods.is_some()
            && self.extra_preparation.is_some()
            && self.max_radius_m.is_some()
    }

    /// Whether a method is not promised, and the version that says so.
    pub fn pauses(&self, method: Method) -> Option<Field<Method>> {
        let paused = self.paused_methods.filter(|paused| paused.value.contains(&method))?;
        Some(Field { value: method, version: paused.version })
    }

    /// What it says, without the versions.
    pub fn body(&self) -> ScenarioBody {
        ScenarioBody {
            name: self.name.map_or_else(String::new, |name| name.value.to_owned()),
            paused_methods: self.paused_methods.map_or_else(Vec::new, |methods| methods.value.to_vec()),
            extra_preparation: self.extra_preparation.map(|field| field.value),
            max_radius_m: self.max_radius_m.map(|field| field.value),
        }
    }
}
