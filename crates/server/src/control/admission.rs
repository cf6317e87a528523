//! Admission of publishers: answers the engine from the database.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use gostream_engine::{
    Admission, Refusal,
    spec::{ProjectSpec, StreamKey},
};
use gostream_net::BoxFuture;
use gostream_store::Store;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{rows::spec, wakes::Wakes};
use crate::{
    login::{limit::RateLimits, refused},
    unknown_key_attempts::UnknownKeyAttempts,
};

/// How long an encoder waits for the database before it is refused and has to reconnect.
const ADMISSION_TIMEOUT: Duration = Duration::from_secs(2);
/// The delay of each refusal for an address that keeps trying unknown keys. It uses up one of the address's few
/// connections meanwhile.
const GUESS_DELAY: Duration = Duration::from_secs(2);

/// Admits publishers by the rows in the database, until `stopping`.
#[derive(Debug)]
pub(crate) struct Gate {
    pub(crate) store: Store,
    pub(crate) wakes: Arc<Wakes>,
    pub(crate) unknown_key_attempts: Arc<UnknownKeyAttempts>,
    pub(crate) limits: Arc<RateLimits>,
    pub(crate) stopping: CancellationToken,
}

impl Gate {
    async fn spec_of(&self, key: &StreamKey) -> Result<ProjectSpec, Refusal> {
        let unavailable = |error| {
            tracing::warn!(%error, "The database could not be read for an encoder.");
            Refusal::Unavailable
        };
        let project = self.store.project_by_stream_key(key.expose()).await.map_err(unavailable)?;
        let project = project.ok_or(Refusal::UnknownKey)?;
        let destinations = self.store.destinations(project.id).await.map_err(unavailable)?;
        Ok(spec(&project, &destinations))
    }
}

impl Admission for Gate {
    fn admit<'a>(&'a self, key: &'a StreamKey, peer: SocketAddr) -> BoxFuture<'a, Result<ProjectSpec, Refusal>> {
        Box::pin(async move {
            if self.stopping.is_cancelled() {
                return Err(Refusal::Unavailable);
            }
            let answer = timeout(ADMISSION_TIMEOUT, self.spec_of(key)).await.unwrap_or(Err(Refusal::Unavailable));
            if matches!(answer, Err(Refusal::UnknownKey)) {
                refused("stream_key", Some(peer.ip()));
                if self.unknown_key_attempts.record(peer.ip(), SystemTime::now()) {
                    self.wakes.unknown_key_tried();
                }
                if self.limits.stream_key(peer.ip()).is_err() {
                    sleep(GUESS_DELAY).await;
                }
            }
            let spec = answer?;
            self.unknown_key_attempts.forget(peer.ip());
            Ok(spec)
        })
    }
}
