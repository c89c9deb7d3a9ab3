//! PICKUP: bought online, collected at a node.

use super::{Clock, Counts, Keep, Proof, PutBack, Rules, Stage, Work};

/// What PICKUP prescribes. Goods are not packed unless a packing step is asked for.
pub const RULES: Rules = Rules {
    path: &[Stage::Picking, Stage::Ready, Stage::HandedOver],
    accept: Clock { minutes: 15, counts: Counts::OpeningTime },
    at_risk_percent: 80,
    proof: Some((Stage::HandedOver, Proof::PickupCode)),
    keep: Keep { hours: 72, reminders: &[24, 60] },
    put_back: PutBack { hours: 24 },
    resolve_hours: 24,
    work: Work::Pick,
};
