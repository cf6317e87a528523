//! What a client has asked for and not taken yet, which keeps memory of ours: a segment that nobody lists any more
//! stays for as long as one viewer is on its way through it. So an answer has a deadline, however it is withheld: a
//! socket that is hardly read, and a stream of HTTP/2 whose window stays closed, look the same from here.

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

/// Who takes longer for a segment cannot watch the stream, and what 50 kbit/s carry by then is more than the dashboard.
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// The answers of one connection that are under way.
#[derive(Debug, Default)]
pub(super) struct UnderWay(Mutex<Answers>);

#[derive(Debug, Default)]
struct Answers {
    begun: BTreeSet<(Instant, u64)>,
    next: u64,
}

impl UnderWay {
    /// Returns once an answer has been under way for too long.
    pub(super) async fn overdue(&self) {
        loop {
            // What begins while this sleeps is due later.
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

/// Under way until dropped.
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

/// A piece of an answer, which the connection drops when it is written: until the last one is, the request is under way.
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

/// The body of an answer under way. It holds its request, and the place of that.
pub(super) struct Answer {
    body: Body,
    under_way: Arc<UnderWay>,
    /// `None` for events, which have no end: there each piece begins by itself.
    begun: Option<Arc<Begun>>,
    held: Held,
}

impl Answer {
    /// Begins now.
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
