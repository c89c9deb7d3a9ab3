//! One call: in a task of its own, with a deadline, a panic caught and every error explained.

use std::future::Future;
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::arrive::Arrivals;
use crate::body;
use crate::status::{DOMAIN, explained, status};
use crate::trace;

tokio::task_local! {
    static CURRENT: Deadline;
}

/// When the caller stops waiting; in the extensions of each request that has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    at: Instant,
}

impl Deadline {
    /// `budget` from now.
    pub fn after(budget: Duration) -> Self {
        Self { at: Instant::now() + budget }
    }

    /// The deadline of this request, if it has one.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get::<Self>().copied()
    }

    /// The deadline of the call at hand, for what it asks of others.
    pub(crate) fn current() -> Option<Self> {
        CURRENT.try_with(|deadline| *deadline).ok()
    }

    /// How long the caller still waits; zero when it no longer does.
    pub fn left(&self) -> Duration {
        self.at.saturating_duration_since(Instant::now())
    }

    pub(crate) fn at(self) -> Instant {
        self.at
    }
}

/// The handlers that run: so that a shutdown can wait for them and, at its limit, end them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Handlers {
    tracker: TaskTracker,
    kill: CancellationToken,
}

impl Handlers {
    fn spawn<F>(&self, future: F) -> tokio::task::JoinHandle<Option<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        let kill = self.kill.clone();
        self.tracker.spawn(async move { kill.run_until_cancelled(future).await }.in_current_span())
    }

    pub(crate) fn running(&self) -> usize {
        self.tracker.len()
    }

    /// Waits until none runs.
    pub(crate) async fn drained(&self) {
        self.tracker.close();
        self.tracker.wait().await;
    }

    /// Ends those that still run.
    pub(crate) fn abort(&self) {
        self.kill.cancel();
    }
}

/// How long a unary call may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budgets {
    /// When the caller names no deadline.
    pub(crate) default: Duration,
    /// Longer ones are cut to this.
    pub(crate) max: Duration,
}

/// A deadline nearer than this has passed before anything could be done.
const SHORTEST: Duration = Duration::from_micros(50);

/// A sender of a stream that is silent for so long is taken for gone.
const SILENCE: Duration = Duration::from_mins(5);

/// `budget`, but no more than is left of the call at hand: deadlines shrink from hop to hop.
pub(crate) fn within(budget: Duration) -> Duration {
    Deadline::current().map_or(budget, |deadline| budget.min(deadline.left()))
}

/// What becomes of a handler whose caller is gone, or does not wait any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Abandoned {
    /// It goes on to its end: what it changes is not cut in half.
    GoesOn,
    /// It ends: it changes nothing, and others wait for what it holds.
    Ends,
}

/// Ends a handler when it is dropped.
struct End(tokio::task::AbortHandle);

impl Drop for End {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs one unary call; the answer comes at its deadline at the latest. With `arrivals` its handler begins when its
/// message is there.
pub(crate) async fn unary<F, S>(
    (handlers, arrivals): (&Handlers, Option<&Arrivals>),
    budgets: Budgets,
    abandoned: Abandoned,
    mut request: Request<Body>,
    serve: S,
) -> Response<Body>
where
    S: FnOnce(Request<Body>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let budget = match timeout(request.headers()) {
        Ok(named) => within(named.unwrap_or(budgets.default).min(budgets.max)),
        Err(refusal) => return refusal.into_http(),
    };
    let deadline = Deadline::after(budget);
    let method = request.uri().path().to_owned();
    if budget < SHORTEST {
        return too_late(&method, budget).into_http();
    }
    let trace = trace::of(request.headers());
    request.headers_mut().remove("grpc-timeout");
    request.extensions_mut().insert(deadline);
    if let Some(arrivals) = arrivals {
        match arrived(arrivals, request, deadline).await {
            Ok(whole) => request = whole,
            Err(refusal) => return refusal.into_http(),
        }
    }
    let work = CURRENT.scope(deadline, serve(request));
    let task = handlers.spawn(trace::scope(trace, Box::pin(work)));
    let _end = (abandoned == Abandoned::Ends).then(|| End(task.abort_handle()));
    match tokio::time::timeout_at(deadline.at(), task).await {
        Ok(outcome) => finished(&method, outcome),
        Err(_) => too_late(&method, budget).into_http(),
    }
}

/// Runs one call with a stream in it: no deadline, the same care otherwise.
pub(crate) async fn streaming<F, S>(
    handlers: &Handlers,
    mut request: Request<Body>,
    serve: S,
) -> Response<Body>
where
    S: FnOnce(Request<Body>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let method = request.uri().path().to_owned();
    request.headers_mut().remove("grpc-timeout");
    let trace = trace::of(request.headers());
    let request = request.map(|body| body::lively(body, SILENCE));
    let task = handlers.spawn(trace::scope(trace, Box::pin(serve(request))));
    finished(&method, task.await)
}

fn finished(method: &str, outcome: Result<Option<Response<Body>>, tokio::task::JoinError>) -> Response<Body> {
    match outcome {
        Ok(Some(response)) => with_info(response),
        Ok(None) => stopping().into_http(),
        Err(failed) => panicked(method, failed).into_http(),
    }
}

/// The answer to a call that the shutdown cut off.
pub(crate) fn stopping() -> Status {
    crate::retry_later(DOMAIN, "SHUTTING_DOWN", Duration::from_secs(1), "this server is shutting down")
}

fn panicked(method: &str, failed: tokio::task::JoinError) -> Status {
    metrics::counter!("grpc_server_panics_total", "method" => method.to_owned()).increment(1);
    let text = match failed.try_into_panic() {
        Ok(payload) => crate::task::panic_text(payload.as_ref()),
        Err(cancelled) => cancelled.to_string(),
    };
    status(
        Code::Internal,
        "HANDLER_PANICKED",
        DOMAIN,
        format!("the handler of {method} panicked: {text}"),
        [],
    )
}

pub(crate) fn too_late(method: &str, budget: Duration) -> Status {
    let text = format!(
        "no answer within {} ms; whether the call took effect is unknown: send it again",
        budget.as_millis()
    );
    let facts = [
        ("method".to_owned(), method.to_owned()),
        ("deadline_ms".to_owned(), budget.as_millis().to_string()),
    ];
    status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", DOMAIN, text, facts)
}

/// The request once its one message is there.
pub(crate) async fn arrived(
    arrivals: &Arrivals,
    request: Request<Body>,
    deadline: Deadline,
) -> Result<Request<Body>, Status> {
    let (head, body) = request.into_parts();
    match arrivals.whole(body, deadline).await {
        Ok(body) => Ok(Request::from_parts(head, body)),
        // what the transport says of a message that broke off has no details
        Err(refusal) if refusal.details().is_empty() => Err(explained(&refusal)),
        Err(refusal) => Err(refusal),
    }
}

/// Statuses that tonic made itself have no details: they get theirs here.
fn with_info(response: Response<Body>) -> Response<Body> {
    let headers = response.headers();
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return response;
    }
    match Status::from_header_map(headers) {
        Some(bare) if bare.code() != Code::Ok => explained(&bare).into_http(),
        Some(_) | None => response,
    }
}

/// Reads `grpc-timeout`: at most 8 digits and a unit.
pub(crate) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(parse_timeout);
    parsed.map(Some).ok_or_else(|| {
        let text = "grpc-timeout is not 1 to 8 digits and one of H M S m u n".to_owned();
        status(Code::InvalidArgument, "TIMEOUT_MALFORMED", DOMAIN, text, [])
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
