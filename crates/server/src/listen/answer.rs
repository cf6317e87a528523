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

use super::held::Held;

/// A client that takes longer for a segment cannot play the stream, and 50 kbit/s suffice to load the whole dashboard
/// in this time.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The open responses of one connection.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    begun: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl UnderWay {
    /// Returns once a response has been open for too long.
    pub(super) async fn overdue(&self) {
        loop {
            // Responses that begin during the sleep are due later.
            let oldest = self.answers().begun.first().map_or_else(Instant::now, |(begun, _)| *begun);
            let due = oldest + ANSWER_TIMEOUT;
            if due <= Instant::now() {
                return;
            }
            sleep_until(due).await;
        }
    }

    fn begin(self: &Arc<Self>) -> Arc<Begun> {
        let mut answers = self.answers();
        answers.next += 1;
        let entry = (Instant::now(), answers.next);
        answers.begun.insert(entry);
        drop(answers);
        Arc::new(Begun { under_way: Arc::clone(self), entry })
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An open response; it ends when this is dropped.
#[derive(Debug)]
struct Begun {
    under_way: Arc<UnderWay>,
    entry: (Instant, u64),
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.under_way.answers().begun.remove(&self.entry);
    }
}

/// A piece of a response, dropped when the connection has written it. The response and its request stay open until the
/// last piece is written.
struct Piece {
    bytes: Bytes,
    _begun: Arc<Begun>,
    _held: Held,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The body of a response. It holds the permit of its request.
pub(super) struct Answer {
    body: Body,
    under_way: Arc<UnderWay>,
    /// `None` for event streams, which do not end: each of their pieces has a deadline of its own.
    begun: Option<Arc<Begun>>,
    held: Held,
}

impl Answer {
    /// Begins a response now.
    pub(super) fn begin(response: Response, under_way: Arc<UnderWay>, held: Held) -> Response<Self> {
        let kind = response.headers().get(header::CONTENT_TYPE);
        let ends = kind.is_none_or(|kind| !kind.as_bytes().starts_with(b"text/event-stream"));
        response.map(|body| {
            let begun = ends.then(|| under_way.begin());
            Self { body, under_way, begun, held }
        })
    }
}

impl hyper::body::Body for Answer {
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
                    let begun = self.begun.clone().unwrap_or_else(|| self.under_way.begin());
                    Bytes::from_owner(Piece { bytes, _begun: begun, _held: self.held.clone() })
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
