//! PICKUP: bought online, collected at a node.

use jiff::SignedDuration;

use super::{Activity, Clocks, Rules, Versions};
use crate::fulfillment::buckets::Bucket;
use crate::fulfillment::stage::{
    Clock, Counts, Due, Name, Notices, OnExpiry, Proof, Span, Stage, Step, StockEffect,
};
use crate::fulfillment::state::State;

/// The node answers while it is open.
const ACCEPT: Clock = Clock {
    step: Step::Accept,
    due: Due::After(Span::Accept),
    counts: Counts::OpeningTime,
    on_expiry: OnExpiry::GiveUp,
};

/// The customer comes while the goods are kept, or at the latest before they are back on the shelf.
const COLLECT: Clock = Clock {
    step: Step::Collect,
    due: Due::After(Span::Keep),
    counts: Counts::IntoOpening,
    on_expiry: OnExpiry::PutBack,
};

/// What PICKUP prescribes.
pub const RULES: Rules = Rules {
    name: "PICKUP",
    is_offered: true,
    stages: &[
        Stage::offered(ACCEPT),
        Stage::ACCEPTED,
        Stage::PICKING,
        Stage::PICKED,
        Stage {
            name: Name::Ready,
            state: State::ReadyForPickup,
            partly: Some(State::PartlyCollected),
            bucket: Bucket::Ready,
            is_whole: true,
            clock: Some(COLLECT),
            notice: Notices {
                entered: Some("PICKUP_READY"),
                reminder: Some("PICKUP_REMINDER"),
                expired: Some("PICKUP_EXPIRED"),
            },
            ..Stage::WORK
        },
        Stage {
            name: Name::Done,
            state: State::Done,
            bucket: Bucket::Done,
            proof: Some(Proof::PickupCode),
            stock_effect: StockEffect::Consumed,
            ..Stage::WORK
        },
    ],
    clocks: Clocks {
        accept: SignedDuration::from_mins(15),
        keep: SignedDuration::from_hours(72),
        transit: None,
        reminders: [Some(SignedDuration::from_hours(24)), Some(SignedDuration::from_hours(60))],
        put_back: SignedDuration::from_hours(24),
        min_open: SignedDuration::from_hours(4),
        resolve: SignedDuration::from_hours(24),
        at_risk_percent: 80,
        versions: Versions::SETTINGS,
    },
    activity: Activity::Pick,
    is_collected: true,
    slack: SignedDuration::from_mins(60),
    answer: SignedDuration::from_hours(24),
};
