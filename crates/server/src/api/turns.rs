//! Who comes next to the database. It serves whoever asks in the order in which they come, changes one at a time on SQLite; so
//! few of one account are let come at once, and a crowd of them waits for itself instead of in front of everybody else.

use std::{net::IpAddr, sync::Arc};

use axum::http::Method;
use gostream_engine::shares::{Bounds, Share, Shares};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::error::Problem;

/// All requests of an address fit: who is refused at once asks again at once, and takes the processor instead. In all so many run
/// that those whose bodies are still on their way leave room for others.
const CHANGES: Bounds = Bounds { running: 128, running_each: 2, waiting: 16_384, waiting_each: 4_096 };
/// More can be read at once than changed.
const READS: Bounds = Bounds { running_each: 4, ..CHANGES };

/// The lines.
#[derive(Clone, Debug)]
pub(crate) struct Turns {
    changes: Arc<Shares<Whose>>,
    reads: Arc<Shares<Whose>>,
}

/// Who waits in line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    Account(Uuid),
    Session(Uuid),
    /// A subscriber with API tokens. Whose those are, and whether they count, is known after a look into the database.
    Tokens(Option<IpAddr>),
}

/// Leave to ask, until dropped.
pub(super) type Turn = Share<Whose>;

impl Default for Turns {
    fn default() -> Self {
        Self { changes: Shares::new(CHANGES), reads: Shares::new(READS) }
    }
}

impl Turns {
    /// Waits for a turn; [`Problem::busy`] when too many wait, and for who waits when the server stops.
    pub(super) async fn take(&self, method: &Method, whose: Whose, stop: &CancellationToken) -> Result<Turn, Problem> {
        let pool = if method.is_safe() { &self.reads } else { &self.changes };
        tokio::select! {
            biased;
            turn = pool.take(whose) => turn.map_err(|_| Problem::busy()),
            () = stop.cancelled() => Err(Problem::busy()),
        }
    }
}
