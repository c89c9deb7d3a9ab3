//! Refusals of calls for which there is no room or no time. They cost little, and no two callers get the same pause: those
//! who are refused together must not come back together.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{HeaderMap, Response};
use tonic::Status;
use tonic::body::Body;

use crate::reason;
use crate::status::{DOMAIN, retry_later};

/// The pauses that the refused are asked for, in ms, in turn.
const PAUSES_MS: [u64; 8] = [200, 388, 275, 463, 238, 425, 313, 500];

/// The refusal of a call for which there is no room.
pub(crate) fn shed(limit: &'static str, text: &str) -> Status {
    retry_later(reason::OVERLOADED, DOMAIN, Duration::from_millis(PAUSES_MS[count(limit)]), text)
}

/// The answer to a call for which there is no room in the queue.
pub(crate) fn crowded() -> Status {
    shed("CALLS", CROWDED)
}

/// The same refusal, ready to be sent: in an overload most calls get it, and what they cost is taken from the others.
pub(crate) fn crowded_response() -> Response<Body> {
    static READY: LazyLock<[HeaderMap; PAUSES_MS.len()]> = LazyLock::new(|| {
        PAUSES_MS.map(|pause| {
            let refusal = retry_later(reason::OVERLOADED, DOMAIN, Duration::from_millis(pause), CROWDED);
            refusal.into_http::<Body>().headers().clone()
        })
    });
    let mut response = Response::new(Body::default());
    response.headers_mut().clone_from(&READY[count("CALLS")]);
    response
}

/// The answer to a call whose caller would have given up before its answer; `usual` is what such calls take now.
pub(crate) fn hopeless(usual: Duration) -> Status {
    let text = format!(
        "the deadline is too near: this method usually takes {} ms at the moment; the call had no effect, send it again later",
        usual.as_millis()
    );
    shed("DEADLINE", &text)
}

const CROWDED: &str = "too many calls at once; the call had no effect, send it again later";

/// Counts a refusal; which of the pauses it gets.
fn count(limit: &'static str) -> usize {
    static REFUSED: AtomicUsize = AtomicUsize::new(0);
    metrics::counter!("grpc_server_shed_total", "limit" => limit).increment(1);
    REFUSED.fetch_add(1, Ordering::Relaxed) % PAUSES_MS.len()
}

#[cfg(test)]
mod tests {
    use tonic_types::StatusExt;

    use super::*;
    use crate::status::reason;

    #[test]
    fn the_prepared_refusal_says_the_same_as_the_other_one() {
        let prepared = Status::from_header_map(crowded_response().headers()).unwrap();
        let other = crowded();
        assert_eq!((reason(&prepared), prepared.message()), (reason(&other), other.message()));
        for refusal in [prepared, other] {
            let pause = refusal.get_details_retry_info().unwrap().retry_delay;
            assert!(pause >= Some(Duration::from_millis(200)) && pause <= Some(Duration::from_millis(500)));
        }
    }
}
