//! One call: in a task of its own, ended at its deadline, a panic caught and every error explained.

use std::future::Future;
use std::time::Duration;

use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::{Code, Status};
use tracing::Instrument as _;

use crate::body;
use crate::deadline::Deadline;
use crate::reason;
use crate::status::{DOMAIN, explained, status, stopping};
use crate::trace;

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

/// A request stream whose sender is silent for this long is ended.
const SILENCE: Duration = Duration::from_mins(5);

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

/// Runs one unary call whose message is there; the answer comes at its deadline at the latest.
pub(crate) async fn unary<F, S>(
    handlers: &Handlers,
    deadline: Deadline,
    abandoned: Abandoned,
    mut request: Request<Body>,
    serve: S,
) -> Response<Body>
where
    S: FnOnce(Request<Body>) -> F,
    F: Future<Output = Response<Body>> + Send + 'static,
{
    let method = request.uri().path().to_owned();
    let trace = trace::of(request.headers());
    request.headers_mut().remove("grpc-timeout");
    request.extensions_mut().insert(deadline);
    let work = deadline.scope(serve(request));
    let task = handlers.spawn(trace::scope(trace, Box::pin(work)));
    let _end = (abandoned == Abandoned::Ends).then(|| End(task.abort_handle()));
    match tokio::time::timeout_at(deadline.at(), task).await {
        Ok(outcome) => finished(&method, outcome),
        Err(_) => deadline.passed(&method).into_http(),
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
    let request = request.map(|body| body::idle_limited(body, SILENCE));
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

fn panicked(method: &str, failed: tokio::task::JoinError) -> Status {
    metrics::counter!("grpc_server_panics_total", "method" => method.to_owned()).increment(1);
    let text = match failed.try_into_panic() {
        Ok(payload) => crate::task::panic_text(payload.as_ref()),
        Err(cancelled) => cancelled.to_string(),
    };
    status(reason::HANDLER_PANICKED, DOMAIN, format!("the handler of {method} panicked: {text}"), [])
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
