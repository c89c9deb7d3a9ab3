//! Which version of a scope is in force when.
//!
//! Each activation lies over those made before it for the same kind and scope: at an instant the latest one that covers it
//! is in force. So an activation makes a hole in the time of the others; when it has an end, or is rolled back, what lies
//! under it goes on, as long as its own activation lasts. Activations are only added, and a roll back cuts one at the
//! present: neither changes what was in force before.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Span, Version};
use crate::id::Uuid;

/// One time for which a version was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Activation {
    /// The version.
    pub policy: Uuid,
    /// Its number, rising with time among those of one kind and scope.
    pub number: i64,
    /// From when on.
    pub span: Span,
}

/// How late a beginning may be and still count as now.
pub const LATENESS: SignedDuration = SignedDuration::from_secs(60);

/// The most activations of one scope that are not over.
pub const MAX_ACTIVATIONS: usize = 200;

/// Why a version is not put in force or rolled back, and what can be done instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It would change the past.
    #[error("from_time must not be before now, {now}; leave it out to begin as early as possible")]
    Past {
        /// The present.
        now: Timestamp,
    },
    /// It ends before it begins.
    #[error("until_time must be later than {from}, when the version comes into force")]
    Empty {
        /// When it would begin.
        from: Timestamp,
    },
    /// Earlier than the version allows.
    #[error(
        "from_time must not be before {from}, from when on the version may be in force; put another version for an earlier time"
    )]
    TooEarly {
        /// The earliest beginning.
        from: Timestamp,
    },
    /// Later than the version allows.
    #[error(
        "until_time must not be after {until}, until when the version may be in force; put another version for a later time"
    )]
    TooLate {
        /// The latest end.
        until: Timestamp,
    },
    /// It may not be in force any more.
    #[error("the version could be in force until {until}; put another version")]
    Over {
        /// When its time ended.
        until: Timestamp,
    },
    /// It is in force all that time already.
    #[error("the version is in force for that time already; roll it back or withdraw it to end it")]
    AlreadyInForce,
    /// Too many activations of the scope.
    #[error(
        "{MAX_ACTIVATIONS} activations of this scope are not over; withdraw versions that are not needed"
    )]
    TooMany,
    /// Nothing is in force that could be ended.
    #[error("no version of this scope is in force{}", .next.map_or_else(
        || "; activate one, or name the scope exactly as its version does".to_owned(),
        |next| format!("; the next one comes into force at {next}, and can be withdrawn before"),
    ))]
    NotInForce {
        /// When the next one comes into force.
        next: Option<Timestamp>,
    },
}

impl Refusal {
    /// The field of the request that is at fault; none: the state of the versions is.
    pub const fn field(&self) -> Option<&'static str> {
        match self {
            Self::Past { .. } | Self::TooEarly { .. } => Some("from_time"),
            Self::Empty { .. } | Self::TooLate { .. } => Some("until_time"),
            Self::Over { .. } | Self::AlreadyInForce | Self::TooMany | Self::NotInForce { .. } => None,
        }
    }
}

/// What a roll back changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledBack {
    /// The activation that ends now, with its new end.
    pub ended: Activation,
    /// The version of the scope that is in force from now on.
    pub in_force: Option<Uuid>,
}

/// Puts a version in force from a time on and until another. `made` are the activations of all versions of its kind and
/// scope, in any order. Absent: as early as possible, and as long as the version allows.
pub fn activate(
    version: &Version,
    made: &[Activation],
    from: Option<Timestamp>,
    until: Option<Timestamp>,
    now: Timestamp,
) -> Result<Activation, Refusal> {
    if let Some(until) = version.valid.until.filter(|until| *until <= now) {
        return Err(Refusal::Over { until });
    }
    let earliest = version.valid.from.map_or(now, |from| from.max(now));
    let from = match from {
        Some(from) if from < now.saturating_sub(LATENESS).unwrap_or(Timestamp::MIN) => {
            return Err(Refusal::Past { now });
        }
        Some(from) => from.max(now),
        None => earliest,
    };
    if from < earliest {
        return Err(Refusal::TooEarly { from: earliest });
    }
    let until = match (until, version.valid.until) {
        (Some(until), Some(latest)) if until > latest => return Err(Refusal::TooLate { until: latest }),
        (until, latest) => until.or(latest),
    };
    if until.is_some_and(|until| until <= from) {
        return Err(Refusal::Empty { from });
    }
    let span = Span { from, until };
    if in_force(made).get(&version.id).is_some_and(|spans| cover(spans, span)) {
        return Err(Refusal::AlreadyInForce);
    }
    if made.iter().filter(|made| !made.is_over(now)).count() >= MAX_ACTIVATIONS {
        return Err(Refusal::TooMany);
    }
    let number = made.iter().map(|made| made.number).max().unwrap_or(0) + 1;
    Ok(Activation { policy: version.id, number, span })
}

/// Ends what is in force now, of the activations of all versions of one kind and scope. What lies under it is in force
/// from now on: the version that was in force before, unless its own activation has ended or was rolled back.
pub fn roll_back(made: &[Activation], now: Timestamp) -> Result<RolledBack, Refusal> {
    let covering = || made.iter().filter(|made| made.span.contains(now));
    let Some(top) = covering().max_by_key(|made| made.number) else {
        let later = made.iter().filter(|made| !made.is_over(now) && made.span.from > now);
        return Err(Refusal::NotInForce { next: later.map(|made| made.span.from).min() });
    };
    let under = covering().filter(|made| made.number < top.number).max_by_key(|made| made.number);
    let ended = Activation { span: Span { until: Some(now), ..top.span }, ..*top };
    Ok(RolledBack { ended, in_force: under.map(|under| under.policy) })
}

/// When each version is in force, of the activations of all versions of one kind and scope. Of all spans no two overlap.
pub fn in_force(made: &[Activation]) -> BTreeMap<Uuid, Vec<Span>> {
    let mut changes: Vec<(Timestamp, bool, usize)> = Vec::with_capacity(made.len() * 2);
    for (i, Activation { span, .. }) in made.iter().enumerate() {
        if span.until.is_none_or(|until| span.from < until) {
            changes.push((span.from, true, i));
            changes.extend(span.until.map(|until| (until, false, i)));
        }
    }
    changes.sort_unstable();
    let mut spans: BTreeMap<Uuid, Vec<Span>> = BTreeMap::new();
    // What covers the instant, and since when which version is in force.
    let mut covering: BTreeSet<(i64, Uuid)> = BTreeSet::new();
    let mut since: Option<(Timestamp, Uuid)> = None;
    for (at, changes) in changes.chunk_by(|a, b| a.0 == b.0).map(|changes| (changes[0].0, changes)) {
        for (_, begins, i) in changes {
            let layer = (made[*i].number, made[*i].policy);
            if *begins {
                covering.insert(layer)
            } else {
                covering.remove(&layer)
            };
        }
        let top = covering.last().map(|(_, policy)| *policy);
        if since.map(|(_, policy)| policy) != top {
            if let Some((from, policy)) = since {
                spans.entry(policy).or_default().push(Span { from, until: Some(at) });
            }
            since = top.map(|policy| (at, policy));
        }
    }
    if let Some((from, policy)) = since {
        spans.entry(policy).or_default().push(Span { from, until: None });
    }
    spans
}

/// What of a version's times in force stays as it was, and what it is from `now` on: `before` as it was known, `after` of
/// the activations that are not over, which do not know the past.
pub fn continued(before: &[Span], after: &[Span], now: Timestamp) -> Vec<Span> {
    let past = before.iter().filter(|span| span.from < now);
    let mut spans: Vec<Span> = past
        .map(|span| Span { from: span.from, until: Some(span.until.map_or(now, |until| until.min(now))) })
        .collect();
    for span in after.iter().filter(|span| span.until.is_none_or(|until| now < until)) {
        let ahead = Span { from: span.from.max(now), until: span.until };
        match spans.last_mut() {
            Some(last) if last.until == Some(ahead.from) => last.until = ahead.until,
            Some(_) | None => spans.push(ahead),
        }
    }
    spans
}

/// The numbers of those activations that lie below `depth` others for all that is left of their time: only as many roll
/// backs would show them again, so they may be ended to make room.
pub fn buried(made: &[Activation], depth: usize, now: Timestamp) -> Vec<i64> {
    let covers = |upper: &Activation, lower: &Activation| {
        upper.number > lower.number
            && cover(&[upper.span], Span { from: lower.span.from.max(now), until: lower.span.until })
    };
    let left = || made.iter().filter(|made| !made.is_over(now));
    let is_buried = |lower: &&Activation| left().filter(|upper| covers(upper, lower)).count() >= depth;
    left().filter(is_buried).map(|made| made.number).collect()
}

impl Activation {
    /// Whether it covers no instant from `now` on.
    fn is_over(&self, now: Timestamp) -> bool {
        self.span.until.is_some_and(|until| until <= now || until <= self.span.from)
    }
}

/// Whether spans, which are in order of time, cover all of another one.
fn cover(spans: &[Span], span: Span) -> bool {
    spans.iter().any(|own| {
        own.from <= span.from
            && match (own.until, span.until) {
                (None, _) => true,
                (Some(_), None) => false,
                (Some(own), Some(until)) => until <= own,
            }
    })
}
