//! What it costs to let a node serve a cart, in points: less is better.
//!
//! Points are whole numbers, so the same facts give the same order of nodes on every machine.

use std::collections::BTreeSet;

use jiff::Timestamp;

use crate::policy::Sourcing;

/// The facts about one node that the cost depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Facts {
    /// Metres to the customer; `None`: unknown, costs nothing.
    pub distance_m: Option<f64>,
    /// When the goods could be ready.
    pub ready: Timestamp,
    /// How full the slot is that it would work in, in percent; 0 when the node counts none.
    pub load_percent: u32,
    /// How many such carts its stock would serve.
    pub depth: i64,
}

/// The weight of each part of the cost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weights {
    /// Names this set of weights in stored decisions.
    pub version: String,
    /// Points for each kilometre.
    pub per_km: i64,
    /// Points for each hour of waiting.
    pub per_hour: i64,
    /// Points for each percent of load.
    pub per_load_percent: i64,
    /// Points when the stock serves this cart and no other; half as much for two, a third for three.
    pub last_unit: i64,
}

impl Default for Weights {
    fn default() -> Self {
        Self { version: "2026-1".to_owned(), per_km: 100, per_hour: 50, per_load_percent: 2, last_unit: 150 }
    }
}

impl Weights {
    /// The same where policies say some of them. The name of the set tells which versions did, and whether the settings still
    /// say anything: `2026-1+policy 12+policy 15`.
    #[must_use]
    pub fn with(&self, said: &Sourcing) -> Self {
        let fields = [said.per_km, said.per_hour, said.per_load_percent, said.last_unit];
        let versions: BTreeSet<i64> = fields.into_iter().flatten().map(|field| field.version).collect();
        let of_settings = fields.iter().any(Option::is_none).then(|| self.version.clone());
        let of_policies = versions.iter().map(|version| format!("policy {version}"));
        let [per_km, per_hour, per_load_percent, last_unit] =
            fields.map(|field| field.map(|said| said.value));
        Self {
            version: of_settings.into_iter().chain(of_policies).collect::<Vec<String>>().join("+"),
            per_km: per_km.unwrap_or(self.per_km),
            per_hour: per_hour.unwrap_or(self.per_hour),
            per_load_percent: per_load_percent.unwrap_or(self.per_load_percent),
            last_unit: last_unit.unwrap_or(self.last_unit),
        }
    }
}

/// The parts of a cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cost {
    /// For the way.
    pub distance: i64,
    /// For the waiting.
    pub wait: i64,
    /// For the load.
    pub load: i64,
    /// For stock that is running out.
    pub depth: i64,
}

impl Cost {
    /// The cost of these facts at that instant.
    pub fn of(facts: Facts, weights: &Weights, now: Timestamp) -> Self {
        let hundred_metres = facts.distance_m.map_or(0, hundreds);
        let minutes = facts.ready.duration_since(now).as_mins().max(0);
        Self {
            distance: hundred_metres.saturating_mul(weights.per_km) / 10,
            wait: minutes.saturating_mul(weights.per_hour) / 60,
            load: i64::from(facts.load_percent).saturating_mul(weights.per_load_percent),
            depth: weights.last_unit / facts.depth.max(1),
        }
    }

    /// All parts together.
    pub const fn total(&self) -> i64 {
        self.distance.saturating_add(self.wait).saturating_add(self.load).saturating_add(self.depth)
    }

    /// The parts by name.
    pub const fn parts(&self) -> [(&'static str, i64); 4] {
        [("distance", self.distance), ("wait", self.wait), ("load", self.load), ("depth", self.depth)]
    }
}

/// Hundreds of metres; nothing on earth is farther than 20,100 km.
#[expect(clippy::cast_possible_truncation, reason = "clamped to what fits")]
fn hundreds(metres: f64) -> i64 {
    (metres / 100.0).clamp(0.0, 201_000.0).round() as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Field;

    #[test]
    fn weights_name_the_versions_that_said_some_of_them_and_the_settings_as_long_as_they_say_any() {
        let base = Weights::default();
        assert_eq!(base.with(&Sourcing::default()), base);
        let said = |value: i64, version: i64| Some(Field { value, version });
        let some = Sourcing { per_km: said(7, 12), last_unit: said(0, 15), ..Sourcing::default() };
        let weights = base.with(&some);
        assert_eq!(weights.version, "2026-1+policy 12+policy 15");
        assert_eq!((weights.per_km, weights.per_hour, weights.last_unit), (7, base.per_hour, 0));
        let all = Sourcing { per_hour: said(1, 12), per_load_percent: said(2, 12), ..some };
        assert_eq!(base.with(&all).version, "policy 12+policy 15");
        let slack = Some(Field { value: jiff::SignedDuration::from_mins(5), version: 9 });
        assert_eq!(base.with(&Sourcing { slack, ..Sourcing::default() }), base, "it is no weight");
    }
}
