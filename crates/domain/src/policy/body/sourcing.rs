//! SOURCING: how nodes are chosen, and how often.

use jiff::SignedDuration;

use super::{Check, days, minutes};
use crate::policy::scope::{Dimension, Scope};

body! {
    /// What a version says about sourcing.
    SourcingBody,
    /// The sourcing that applies to a thing.
    Sourcing {
        /// Points per kilometre between node and customer.
        per_km: i64,
        /// Points per hour until the goods are ready.
        per_hour: i64,
        /// Points per percent of the slot's capacity that is taken.
        per_load_percent: i64,
        /// Points for each line whose last unit the node would give.
        last_unit: i64,
        /// How much later than promised still counts as the same window.
        slack: SignedDuration,
        /// Nodes that the same pieces are offered to before the customer is asked.
        max_offers: i32,
        /// Legs that the pieces of a need may be split into.
        max_parts: i32,
        /// Offers in a row that a node may let run out before it gets no promises.
        silent_after: i32,
        /// How long it gets none then.
        silent_for: SignedDuration,
    }
}

impl SourcingBody {
    pub(super) fn check(&self, scope: &Scope, check: &mut Check) {
        for (field, points) in [
            ("per_km", self.per_km),
            ("per_hour", self.per_hour),
            ("per_load_percent", self.per_load_percent),
            ("last_unit", self.last_unit),
        ] {
            check.number(field, points, 0, 1_000_000);
        }
        check.length("slack", self.slack, SignedDuration::ZERO, days(7));
        check.number("max_offers", self.max_offers, 1, 20);
        check.number("max_parts", self.max_parts, 1, 5);
        check.number("silent_after", self.silent_after, 1, 20);
        check.length("silent_for", self.silent_for, minutes(1), days(7));
        // Only silence is asked of one node; all other fields compare nodes.
        for (field, says) in Self::FIELDS.iter().zip(self.says()) {
            let is_said = says && !matches!(*field, "silent_after" | "silent_for");
            let of_node = [Dimension::Node, Dimension::NodeGroup, Dimension::NodeKind];
            check.unknown_to_scope(field, is_said, scope, &of_node);
        }
    }
}
