//! What the tests of policies share.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Body, ClocksBody, Scope, Span, Valid, Version};
use crate::id::{NodeId, Uuid, derived};

/// Seconds after the start of the test.
pub(super) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}

/// A number of minutes.
pub(super) fn minutes(minutes: i64) -> SignedDuration {
    SignedDuration::from_mins(minutes)
}

pub(super) fn node(code: &str) -> NodeId {
    NodeId::new(code).unwrap()
}

/// The id of the version with this number.
pub(super) fn id(version: i64) -> Uuid {
    derived("test.policy", &version.to_string())
}

/// A time in force.
pub(super) fn span(from: i64, until: Option<i64>) -> Span {
    Span { from: at(from), until: until.map(at) }
}

/// A version that is in force from the start on.
pub(super) fn version(number: i64, scope: Scope, body: Body) -> Arc<Version> {
    let in_force = vec![span(0, None)];
    Arc::new(Version { id: id(number), version: number, scope, valid: Valid::default(), in_force, body })
}

/// One that says in how many minutes offers are accepted.
pub(super) fn accept(number: i64, scope: Scope, accept: i64) -> Arc<Version> {
    let body = ClocksBody { accept: Some(minutes(accept)), ..ClocksBody::default() };
    version(number, scope, Body::Clocks(body))
}
