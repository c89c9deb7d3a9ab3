//! POOLS: units that only one channel may claim.
//!
//! Pools merge channel by channel: what is kept for a channel comes from the most specific version that names the channel,
//! so a version for one SKU that names the web leaves the pool of the shop as it was.

use std::collections::BTreeSet;

use super::Check;
use crate::id::check_text;
use crate::policy::scope::Scope;

/// What a version says about pools.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PoolsBody {
    /// One for each channel that it names.
    pub pools: Vec<Pool>,
}

/// What is kept for one channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// The channel.
    pub channel: String,
    /// Units of each position that no other channel may claim.
    pub units: i64,
}

/// A pool that applies to a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AppliedPool<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Units of each position that no other channel may claim.
    pub units: i64,
    /// The version that says so.
    pub version: i64,
}

impl Pool {
    /// The name of a pool as a field of a version.
    pub(super) fn field(&self) -> String {
        format!("pools[{}]", self.channel)
    }
}

impl PoolsBody {
    /// The most pools of one version.
    pub const MAX_POOLS: usize = 20;

    pub(super) fn check(&self, check: &mut Check) {
        if self.pools.len() > Self::MAX_POOLS {
            check.fault("pools", format!("must be at most {}", Self::MAX_POOLS));
        }
        let mut channels = BTreeSet::new();
        for (i, pool) in self.pools.iter().enumerate() {
            if let Err(error) = check_text(&pool.channel, Scope::MAX_CODE) {
                check.fault(&format!("pools[{i}].channel"), error.to_string());
            } else if !channels.insert(&pool.channel) {
                check.fault(&format!("pools[{i}].channel"), "must not name a channel twice");
            }
            check.number(&format!("pools[{i}].units"), Some(pool.units), 1, 1_000_000_000);
        }
    }
}
