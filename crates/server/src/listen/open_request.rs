//! The permit of a request and its mark as open.

use std::sync::Arc;

use gostream_net::connection_limiter::Permit;

use super::activity::ActiveRequest;

/// Keeps a request open and holds its permit. It is inserted into the request, so that a handler that outlives its
/// client's connection keeps both until it ends.
#[derive(Clone, Debug)]
pub(crate) struct OpenRequest {
    _request: Arc<(Permit, ActiveRequest)>,
}

impl OpenRequest {
    /// An open request with its permit among all requests.
    pub(super) fn new(permit: Permit, request: ActiveRequest) -> Self {
        Self { _request: Arc::new((permit, request)) }
    }
}
