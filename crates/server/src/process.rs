//! Process settings: the limit on open files, and protection of the process's memory.

use gostream_engine::limits::Limits;
use gostream_net::connection_limiter::ConnectionLimits;
use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

use crate::listen;

/// Open files besides connections: listeners, the database and its log, certificates, standard streams, and temporary
/// files of libraries.
const OTHERS: usize = 128;

/// Memory contains keys and passwords, so the kernel writes no core dump, and only root can read the memory with a
/// debugger or through `/proc`. The server starts even if the kernel refuses this.
pub fn forbid_core_dumps() {
    let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
}

/// The limit on open files. Many shells and service managers set a soft limit of 1,024 for programs that use
/// `select(2)`; others, like this one, may raise it to the hard limit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileLimit(usize);

impl FileLimit {
    /// Raises the soft limit to the hard limit, logs and returns it.
    pub(crate) fn raise() -> Self {
        let before = getrlimit(Resource::Nofile);
        if before.current != before.maximum {
            let wanted = Rlimit { current: before.maximum, maximum: before.maximum };
            if let Err(error) = setrlimit(Resource::Nofile, wanted) {
                tracing::warn!(%error, "The limit on open files could not be raised.");
            }
        }
        let files = getrlimit(Resource::Nofile).current;
        let limit = Self(files.and_then(|files| usize::try_from(files).ok()).unwrap_or(usize::MAX));
        let http = limit.http(listen::LIMITS).connections;
        tracing::info!(
            files = limit.0,
            files_before = before.current,
            http_connections_max = http,
            rtmp_connections_max = limit.rtmp(Limits::default().connections).connections,
            "The limit on open files was raised to its maximum; the connection limits stay below it."
        );
        limit
    }

    /// The HTTP limits: clients get at most a quarter of the available files, and proxies an eighth.
    pub(crate) fn http(self, limits: ConnectionLimits) -> ConnectionLimits {
        limits.at_most(self.spare() / 4, self.spare() / 8)
    }

    /// The limits of the metrics port, for Prometheus and manual requests.
    pub(crate) fn metrics(self, limits: ConnectionLimits) -> ConnectionLimits {
        limits.at_most(self.spare() / 64, 0)
    }

    /// The RTMP limits: encoders and players get at most a quarter of the available files, and connections that wait
    /// for a PROXY header a 64th. Relays need the rest.
    pub(crate) fn rtmp(self, limits: ConnectionLimits) -> ConnectionLimits {
        limits.at_most(self.spare() / 4, self.spare() / 64)
    }

    fn spare(self) -> usize {
        self.0.saturating_sub(OTHERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_under_the_limit_on_open_files() {
        for files in [256, 1_024, 4_096, 20_000, 65_536, 1 << 20] {
            let limit = FileLimit(files);
            let http = limit.http(listen::LIMITS);
            let rtmp = limit.rtmp(Limits::default().connections);
            let metrics = limit.metrics(listen::LIMITS);
            let taken = http.connections
                + http.proxies
                + rtmp.connections
                + rtmp.proxies
                + metrics.connections
                + metrics.proxies;
            assert!(
                taken + OTHERS <= files * 3 / 4 + OTHERS,
                "{files}: relays have a quarter at least, {taken} are taken"
            );
            assert!(http.connections_per_address < http.connections, "{files}: one address cannot use all");
        }
        assert_eq!(FileLimit(65_536).http(listen::LIMITS).connections, listen::LIMITS.connections);
    }

    #[test]
    fn core_dumps_are_disabled() {
        forbid_core_dumps();
        assert_eq!(rustix::process::dumpable_behavior().expect("is known"), DumpableBehavior::NotDumpable);
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_limit() {
        let FileLimit(files) = FileLimit::raise();
        let now = getrlimit(Resource::Nofile);
        assert_eq!(now.current, now.maximum);
        assert_eq!(now.current.map_or(usize::MAX, |files| files as usize), files);
    }
}
