//! The permit of a request and its mark as open.

use std::sync::Arc;

use gostream_net::connection_limiter::Permit;

use super::activity::Request;

/// Keeps a request open and holds its permit. It is inserted into the request, so that a handler that outlives its
/// client's connection keeps both until it ends.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    _request: Arc<(Permit, Request)>,
}

impl Held {
    /// An open request with its permit among all requests.
    pub(super) fn new(place: Permit, request: Request) -> Self {
        Self { _request: Arc::new((place, request)) }
    }
}
