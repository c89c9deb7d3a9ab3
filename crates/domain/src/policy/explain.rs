//! Explanations: which version says what about a thing, and which ones lose.

use std::sync::Arc;

use jiff::Timestamp;

use super::scope::Asked;
use super::{Body, Book, ClocksBody, Kind, LimitsBody, Pool, PoolsBody, SafetyStockBody, ScenarioBody};
use super::{SourcingBody, Version};
use crate::id::Uuid;

/// What applies to a thing at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// What the versions say together. Fields that it does not say come from the settings.
    pub body: Body,
    /// Where each field comes from, also those that no version says.
    pub origins: Vec<Origin>,
    /// The versions that are in force and fit, by falling rank; at most [`Explained::MAX_CANDIDATES`].
    pub candidates: Vec<Arc<Version>>,
}

/// Where a field comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Its name in the body; a pool is one field: `pools[web]`.
    pub field: String,
    /// The version that says it; none: the settings.
    pub policy: Option<Uuid>,
    /// The number of that version; 0: the settings.
    pub version: i64,
    /// Versions that name it too and lose, by falling rank; at most [`Explained::MAX_LOSERS`].
    pub losers: Vec<Uuid>,
}

impl Explained {
    /// The most candidates.
    pub const MAX_CANDIDATES: usize = 100;
    /// The most losers of a field.
    pub const MAX_LOSERS: usize = 20;
}

impl Origin {
    fn of_settings(field: &str) -> Self {
        Self { field: field.to_owned(), policy: None, version: 0, losers: Vec::new() }
    }

    fn named_by(&mut self, version: &Version) {
        if self.policy.is_none() {
            (self.policy, self.version) = (Some(version.id), version.version);
        } else if self.losers.len() < Explained::MAX_LOSERS {
            self.losers.push(version.id);
        }
    }
}

impl Book {
    /// What the versions of a kind say about a thing at an instant, and which of them says what.
    pub fn explain(&self, kind: Kind, asked: &Asked<'_>, at: Timestamp) -> Explained {
        let fields: &[&str] = match kind {
            Kind::Clocks => ClocksBody::FIELDS,
            Kind::Sourcing => SourcingBody::FIELDS,
            Kind::SafetyStock => SafetyStockBody::FIELDS,
            Kind::Limits => LimitsBody::FIELDS,
            Kind::Scenario => ScenarioBody::FIELDS,
            Kind::Pools => &[],
        };
        let mut origins: Vec<Origin> = fields.iter().map(|field| Origin::of_settings(field)).collect();
        let mut candidates = Vec::new();
        self.walk(kind, asked, at, |version| {
            for field in version.body.fields() {
                let known = origins.iter().position(|origin| origin.field == field);
                let place = known.unwrap_or_else(|| {
                    origins.push(Origin::of_settings(&field));
                    origins.len() - 1
                });
                origins[place].named_by(version);
            }
            if candidates.len() < Explained::MAX_CANDIDATES {
                candidates.push(Arc::clone(version));
            }
            false
        });
        Explained { body: self.merged(kind, asked, at), origins, candidates }
    }

    /// What the versions of a kind say together.
    fn merged(&self, kind: Kind, asked: &Asked<'_>, at: Timestamp) -> Body {
        match kind {
            Kind::Clocks => Body::Clocks(self.clocks(asked, at).body()),
            Kind::Sourcing => Body::Sourcing(self.sourcing(asked, at).body()),
            Kind::SafetyStock => Body::SafetyStock(self.safety_stock(asked, at).body()),
            Kind::Limits => Body::Limits(self.limits(asked, at).body()),
            Kind::Scenario => Body::Scenario(self.scenario(asked, at).body()),
            Kind::Pools => {
                let pools = self.pools(asked, at).into_iter();
                let pools = pools.map(|pool| Pool { channel: pool.channel.to_owned(), units: pool.units });
                Body::Pools(PoolsBody { pools: pools.collect() })
            }
        }
    }
}
