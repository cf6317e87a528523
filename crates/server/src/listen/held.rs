//! What a request has until it ends.

use std::sync::Arc;

use gostream_net::connection_limiter::Permit;

use super::activity::Request;

/// That a request is under way, and its place, put into it: a handler that runs on without its client holds both until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    _request: Arc<(Permit, Request)>,
}

impl Held {
    /// With its place among all requests.
    pub(super) fn new(place: Permit, request: Request) -> Self {
        Self { _request: Arc::new((place, request)) }
    }
}
