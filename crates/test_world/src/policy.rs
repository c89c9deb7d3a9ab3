//! Policies as the events of fulfillment bring them.

use bus::{Delivered, Topic};
use contract::fulfillment::v1 as pb;
use contract::fulfillment::v1::policy::Body;
use contract::r#type::v1::Window;
use jiff::Timestamp;
use prost::Message as _;
use uuid::Uuid;

use crate::event::delivered;
use crate::wire::stamp;

fn id(number: i64) -> Uuid {
    Uuid::from_u64_pair(0x7000, 0x8000_0000_0000_0000 | number.unsigned_abs())
}

/// The version with this number, in force from an instant on.
pub fn policy(number: i64, scope: pb::PolicyScope, body: Body, from: Timestamp) -> pb::Policy {
    pb::Policy {
        policy_id: format!("pol_{}", id(number)),
        version: number,
        scope: Some(scope),
        reason: "test".to_owned(),
        in_force: vec![Window { start_time: Some(stamp(from)), end_time: None }],
        body: Some(body),
        ..pb::Policy::default()
    }
}

/// The same, in force until an instant.
#[must_use]
pub fn until(mut policy: pb::Policy, end: Timestamp) -> pb::Policy {
    policy.in_force.iter_mut().for_each(|window| window.end_time = Some(stamp(end)));
    policy
}

/// The event that a version changed; of two about one version the higher sequence is the later one.
pub fn policy_event(policy: pb::Policy, sequence: i64, now: Timestamp) -> Delivered {
    let aggregate = id(policy.version);
    let body = pb::fulfillment_event::Body::PolicyChanged(pb::PolicyChanged { policy: Some(policy) });
    let payload = pb::FulfillmentEvent { fulfillment_order: None, body: Some(body) }.encode_to_vec();
    Delivered { aggregate, sequence, ..delivered(Topic::Fulfillment, "policy", payload, now) }
}
