//! Limits the duration of responses. An unread response keeps memory in use: a segment that has left every playlist
//! stays in memory as long as one viewer is downloading it. A slowly read socket and a closed window of an HTTP/2
//! stream look the same from here, so one deadline applies to both.

use std::{
    collections::BTreeSet,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::header,
    response::Response,
};
use hyper::body::{Frame, SizeHint};
use tokio::time::{Instant, sleep_until};

use super::open_request::OpenRequest;

/// A client that takes longer for a segment cannot play the stream, and 50 kbit/s suffice to load the whole dashboard
/// in this time.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

/// The open responses of one connection.
#[derive(Debug, Default)]
pub(super) struct OpenResponses(Mutex<Responses>);

#[derive(Debug, Default)]
struct Responses {
    begun: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl OpenResponses {
    /// Returns once a response has been open for too long.
    pub(super) async fn overdue(&self) {
        loop {
            // Responses that begin during the sleep are due later.
            let oldest = self.responses().begun.first().map_or_else(Instant::now, |(begun, _)| *begun);
            let due = oldest + RESPONSE_TIMEOUT;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn begin(self: &Arc<Self>) -> Arc<ResponseGuard> {
        let mut responses = self.responses();
        responses.next += 1;
        let entry = (Instant::now(), responses.next);
        responses.begun.insert(entry);
        drop(responses);
        Arc::new(ResponseGuard { open_responses: Arc::clone(self), entry })
    }

    fn responses(&self) -> MutexGuard<'_, Responses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open response; it ends when this is dropped.
#[derive(Debug)]
struct ResponseGuard {
    open_responses: Arc<OpenResponses>,
    entry: (Instant, u64),
}

impl Drop for ResponseGuard {
    fn drop(&mut self) {
        self.open_responses.responses().begun.remove(&self.entry);
    }
}

/// A piece of a response, dropped when the connection has written it. The response and its request stay open until the
/// last piece is written.
struct Piece {
    bytes: Bytes,
    _guard: Arc<ResponseGuard>,
    _open_request: OpenRequest,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of a response. It holds the permit of its request.
pub(super) struct ResponseBody {
    body: Body,
    open_responses: Arc<OpenResponses>,
    /// `None` for event streams, which do not end: each of their pieces has a deadline of its own.
    begun: Option<Arc<ResponseGuard>>,
    open_request: OpenRequest,
}

impl ResponseBody {
    /// Begins a response now.
    pub(super) fn begin(
        response: Response,
        open_responses: Arc<OpenResponses>,
        open_request: OpenRequest,
    ) -> Response<Self> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let ends = kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream"));
        response.map(|body| {
            let begun = ends.then(|| open_responses.begin());
            Self { body, open_responses, begun, open_request }
        })
    }
}

impl hyper::body::Body for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| {
                frame.map_data(|bytes| {
                    let begun = self.begun.clone().unwrap_or_else(|| self.open_responses.begin());
                    Bytes::from_owner(Piece { bytes, _guard: begun, _open_request: self.open_request.clone() })
                })
            })
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
