//! What keeps the current certificate fresh.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::{acme::Renewal, certificates::Certificates};
use crate::config::TlsFiles;

/// What keeps the current certificate fresh.
#[derive(Debug)]
pub(crate) enum Keeper {
    /// Somebody who writes files.
    Files(TlsFiles),
    /// We.
    Acme(Box<Renewal>),
}

impl Keeper {
    /// Does so until `stop`.
    pub(crate) async fn run(self, certificates: Arc<Certificates>, stop: CancellationToken) {
        match self {
            Self::Files(files) => certificates.watch(files, stop).await,
            Self::Acme(renewal) => renewal.run(certificates, stop).await,
        }
    }
}
