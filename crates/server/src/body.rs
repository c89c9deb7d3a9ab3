//! Bodies with an end of our choosing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::deadline::not_arrived;
use crate::reason;
use crate::shutdown::Shutdown;
use crate::status::{DOMAIN, explained, status, stopping};

/// A request stream that fails when its sender is silent for `pause`.
pub(crate) fn idle_limited(body: Body, pause: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(IdleTimeout { body, end: Box::pin(tokio::time::sleep_until(Instant::now() + pause)), pause })
}

struct IdleTimeout {
    body: Body,
    end: Pin<Box<tokio::time::Sleep>>,
    /// The end moves on by this with each frame.
    pause: Duration,
}

impl HttpBody for IdleTimeout {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let end = Instant::now() + self.pause;
            self.end.as_mut().reset(end);
            return Poll::Ready(frame);
        }
        match self.end.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => Poll::Ready(Some(Err(not_arrived()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// An empty message: five bytes in every protocol buffer's frame.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// A response stream that ends with UNAVAILABLE when the shutdown begins, and with INTERNAL when its source panics.
/// It holds `place` as long as it lives.
///
/// With `heartbeat` it sends an empty message whenever it was silent for so long: load balancers and firewalls cut
/// streams without data, and do not count the pings of HTTP/2.
pub(crate) fn stream<P: Send + Unpin + 'static>(
    body: Body,
    shutdown: &Shutdown,
    heartbeat: Option<Duration>,
    place: P,
) -> Body {
    let beat = heartbeat
        .map(|every| Beat { every, next: Box::pin(tokio::time::sleep_until(Instant::now() + every)) });
    Body::new(Stream { body: Some(body), stop: Box::pin(shutdown.begun_owned()), beat, _place: place })
}

struct Stream<P> {
    /// None once the end was sent.
    body: Option<Body>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    beat: Option<Beat>,
    _place: P,
}

/// When the next sign of life is due.
struct Beat {
    every: Duration,
    next: Pin<Box<tokio::time::Sleep>>,
}

impl Beat {
    fn postpone(&mut self) {
        let next = Instant::now() + self.every;
        self.next.as_mut().reset(next);
    }
}

impl<P: Send + Unpin + 'static> HttpBody for Stream<P> {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Some(body) = self.body.as_mut() else {
            return Poll::Ready(None);
        };
        match catch_unwind(AssertUnwindSafe(|| Pin::new(body).poll_frame(cx))) {
            Ok(Poll::Ready(frame)) => {
                if let Some(beat) = &mut self.beat {
                    beat.postpone();
                }
                return Poll::Ready(frame.map(|read| read.map(with_info)));
            }
            Ok(Poll::Pending) => {}
            Err(payload) => {
                self.body = None;
                let text = format!("a stream panicked: {}", crate::task::panic_text(payload.as_ref()));
                let ended = status(reason::HANDLER_PANICKED, DOMAIN, text, []);
                return Poll::Ready(Some(Ok(trailers(&ended))));
            }
        }
        if self.stop.as_mut().poll(cx).is_ready() {
            self.body = None;
            return Poll::Ready(Some(Ok(trailers(&stopping()))));
        }
        // a frame of the source holds whole messages, so one of ours may come between any two
        if let Some(beat) = &mut self.beat
            && beat.next.as_mut().poll(cx).is_ready()
        {
            beat.postpone();
            return Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(EMPTY_MESSAGE)))));
        }
        Poll::Pending
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }
}

/// A stream that tonic ended (a message that cannot be read) gets its `ErrorInfo` here.
fn with_info(frame: Frame<Bytes>) -> Frame<Bytes> {
    let headers = match frame.into_trailers() {
        Ok(headers) => headers,
        Err(data) => return data,
    };
    match Status::from_header_map(&headers) {
        Some(bare) if bare.code() != Code::Ok && bare.details().is_empty() => trailers(&explained(&bare)),
        Some(_) | None => Frame::trailers(headers),
    }
}

fn trailers(status: &Status) -> Frame<Bytes> {
    let mut headers = HeaderMap::new();
    if status.add_header(&mut headers).is_err() {
        headers.insert("grpc-status", http::HeaderValue::from_static("13"));
    }
    Frame::trailers(headers)
}

/// A body that is there.
pub(crate) fn of(bytes: Bytes) -> Body {
    if bytes.is_empty() { Body::empty() } else { boxed(http_body_util::Full::new(bytes)) }
}

/// Any body as the one type that services take.
pub(crate) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<tower::BoxError>,
{
    Body::new(body.map_err(|error| Status::from_error(error.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends one frame and then nothing.
    struct Silent(bool);

    impl HttpBody for Silent {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            if std::mem::replace(&mut self.0, true) {
                Poll::Pending
            } else {
                Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(b"x")))))
            }
        }
    }

    #[tokio::test]
    async fn a_silent_sender_of_a_stream_is_given_up() {
        let mut body = idle_limited(Body::new(Silent(false)), Duration::from_millis(30));
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(body.frame().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_silent_stream_gives_signs_of_life_and_a_lively_one_none() {
        let every = Duration::from_millis(20);
        let mut silent = stream(Body::new(Silent(false)), &Shutdown::new(), Some(every), ());
        let mut frames = Vec::new();
        for _ in 0..3 {
            frames.push(silent.frame().await.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(frames, [&b"x"[..], EMPTY_MESSAGE, EMPTY_MESSAGE]);
        let once = http_body_util::Full::from("xy");
        let mut busy = stream(boxed(once), &Shutdown::new(), Some(every), ());
        assert_eq!(busy.frame().await.unwrap().unwrap().into_data().unwrap(), "xy");
        assert!(busy.frame().await.is_none());
    }
}
