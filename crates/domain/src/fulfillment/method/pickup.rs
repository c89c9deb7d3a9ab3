//! PICKUP: bought online, collected at a node.

use jiff::SignedDuration;

use super::{Activity, Clocks, Counts, Proof, Rules};

/// What PICKUP prescribes.
pub const RULES: Rules = Rules {
    accept_counts: Counts::OpeningTime,
    at_risk_percent: 80,
    proof: Some(Proof::PickupCode),
    clocks: Clocks {
        accept: SignedDuration::from_mins(15),
        keep: SignedDuration::from_hours(72),
        reminders: [Some(SignedDuration::from_hours(24)), Some(SignedDuration::from_hours(60))],
        put_back: SignedDuration::from_hours(24),
        resolve: SignedDuration::from_hours(24),
    },
    activity: Activity::Pick,
};
