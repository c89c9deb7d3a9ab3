//! Bodies with an end of our choosing.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body_util::BodyExt as _;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::{Code, Status};

use crate::call::stopping;
use crate::shutdown::Shutdown;
use crate::status::{DOMAIN, explained, status};

/// A request stream that fails when its sender is silent for `pause`.
pub(crate) fn lively(body: Body, pause: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    Body::new(Lively { body, end: Box::pin(tokio::time::sleep_until(Instant::now() + pause)), pause })
}

struct Lively {
    body: Body,
    end: Pin<Box<tokio::time::Sleep>>,
    /// The end moves on by this with each frame.
    pause: Duration,
}

impl HttpBody for Lively {
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
            Poll::Ready(()) => {
                let text = "the request did not arrive in time".to_owned();
                Poll::Ready(Some(Err(status(Code::DeadlineExceeded, "DEADLINE_EXCEEDED", DOMAIN, text, []))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A response stream that ends with UNAVAILABLE when the shutdown begins, and with INTERNAL when its source panics.
/// It holds its place among the open streams as long as it lives.
pub(crate) fn stream(body: Body, shutdown: &Shutdown, place: OwnedSemaphorePermit) -> Body {
    Body::new(Stream { body: Some(body), stop: Box::pin(shutdown.begun_owned()), _place: place })
}

struct Stream {
    /// None once the end was sent.
    body: Option<Body>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Stream {
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
            Ok(Poll::Ready(frame)) => return Poll::Ready(frame.map(|read| read.map(with_info))),
            Ok(Poll::Pending) => {}
            Err(payload) => {
                self.body = None;
                let text = format!("a stream panicked: {}", crate::task::panic_text(payload.as_ref()));
                return Poll::Ready(Some(Ok(trailers(&status(
                    Code::Internal,
                    "HANDLER_PANICKED",
                    DOMAIN,
                    text,
                    [],
                )))));
            }
        }
        match self.stop.as_mut().poll(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => {
                self.body = None;
                Poll::Ready(Some(Ok(trailers(&stopping()))))
            }
        }
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
        let mut body = lively(Body::new(Silent(false)), Duration::from_millis(30));
        assert!(body.frame().await.unwrap().is_ok());
        assert_eq!(body.frame().await.unwrap().unwrap_err().code(), Code::DeadlineExceeded);
    }
}
