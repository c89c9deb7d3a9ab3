//! By when a call must be answered.

use std::time::Duration;

use http::HeaderMap;
use tokio::time::Instant;
use tonic::Status;

use crate::reason;
use crate::status::{DOMAIN, status};

tokio::task_local! {
    static CURRENT: Deadline;
}

/// When the caller stops waiting; in the extensions of each request that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
    budget: Duration,
}

/// How long a unary call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    /// When the caller names no deadline.
    pub(crate) default: Duration,
    /// Longer ones are cut to this.
    pub(crate) max: Duration,
}

impl Budgets {
    /// How long this call may take: what its caller names, no more than we allow, and no more than is left of the call
    /// at hand, since deadlines shrink from hop to hop.
    pub(crate) fn of(self, headers: &HeaderMap) -> Result<Duration, Status> {
        let budget = timeout(headers)?.unwrap_or(self.default).min(self.max);
        Ok(Deadline::current().map_or(budget, |deadline| budget.min(deadline.left())))
    }
}

/// A deadline nearer than this has passed before anything could be done.
const SHORTEST: Duration = Duration::from_micros(50);

impl Deadline {
    /// `budget` from now.
    pub fn after(budget: Duration) -> Self {
        Self { at: Instant::now() + budget, budget }
    }

    /// The deadline of this request, if it has one.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().copied()
    }

    /// The deadline of a call that begins now.
    pub(crate) fn begin(headers: &HeaderMap, method: &str, budgets: Budgets) -> Result<Self, Status> {
        let deadline = Self::after(budgets.of(headers)?);
        if deadline.budget < SHORTEST { Err(deadline.passed(method)) } else { Ok(deadline) }
    }

    /// The deadline of the call at hand, for what it asks of others.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// Runs the work of a call: what it asks of others has no later deadline.
    pub(crate) async fn scope<F: Future>(self, work: F) -> F::Output {
        CURRENT.scope(self, work).await
    }

    /// How long the caller still waits; zero when it no longer does.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    /// How long the caller waits in all.
    pub(crate) fn budget(self) -> Duration {
        self.budget
    }

    pub(crate) fn at(self) -> Instant {
        self.at
    }

    /// The answer to a call whose deadline has passed.
    pub(crate) fn passed(self, method: &str) -> Status {
        let millis = self.budget.as_millis();
        let text = format!(
            "no answer within {millis} ms; whether the call took effect is unknown: send it again with the same request id"
        );
        let facts =
            [("method".to_owned(), method.to_owned()), ("deadline_ms".to_owned(), millis.to_string())];
        status(reason::DEADLINE_EXCEEDED, DOMAIN, text, facts)
    }
}

/// The answer to a request whose message did not arrive by its deadline.
pub(crate) fn not_arrived() -> Status {
    let text = "the request did not arrive in time".to_owned();
    status(reason::DEADLINE_EXCEEDED, DOMAIN, text, [])
}

/// Reads `grpc-timeout`: at most 8 digits and a unit.
fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    parsed.map(Some).ok_or_else(|| {
        let text = "grpc-timeout is not 1 to 8 digits and one of H M S m u n".to_owned();
        status(reason::TIMEOUT_MALFORMED, DOMAIN, text, [])
    })
}

fn parse_timeout(text: &str) -> Option<Duration> {
    let (last, _) = text.char_indices().next_back()?;
    let (digits, unit) = text.split_at(last);
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_unit_of_a_timeout_is_read() {
        let cases = [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("3S", Duration::from_secs(3)),
            ("250m", Duration::from_millis(250)),
            ("7u", Duration::from_micros(7)),
            ("1n", Duration::from_nanos(1)),
            ("99999999H", Duration::from_hours(99_999_999)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_timeout(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn a_timeout_of_another_shape_is_refused() {
        for bad in ["", "S", "10", "123456789S", "-1S", "1.5S", "1s", "1 S", "\u{4e00}S"] {
            assert_eq!(parse_timeout(bad), None, "{bad:?}");
        }
    }
}
