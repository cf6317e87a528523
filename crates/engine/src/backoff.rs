//! Waits between the attempts of a relay or a pull.

use std::time::Duration;

/// Seconds after network trouble. The first attempts fit inside the 60 to 90 s for which platforms keep a session.
const TROUBLE_SECONDS: [u64; 6] = [1, 2, 4, 8, 15, 30];
/// Seconds after a refusal: the platform will likely refuse again until the user acts, and must not be flooded.
const REFUSAL_SECONDS: [u64; 4] = [30, 60, 120, 300];
/// Seconds while the platform holds the key for an older session, which may take a while to expire.
const BUSY_SECONDS: [u64; 3] = [5, 10, 30];
/// Each wait is up to this share longer or shorter, so that relays that failed together do not return together.
const JITTER: f64 = 0.2;

/// Which schedule of waits applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Network or TLS trouble, or a server that went away.
    Trouble,
    /// The platform refused.
    Refusal,
    /// The key is in use.
    Busy,
}

/// The wait after `tries` earlier attempts of a schedule; `jitter` is from 0 to 1.
pub fn delay(schedule: Schedule, tries: u32, jitter: f64) -> Duration {
    let row: &[u64] = match schedule {
        Schedule::Trouble => &TROUBLE_SECONDS,
        Schedule::Refusal => &REFUSAL_SECONDS,
        Schedule::Busy => &BUSY_SECONDS,
    };
    let index = (tries as usize).min(row.len() - 1);
    let seconds = row.get(index).copied().unwrap_or(30);
    Duration::from_secs_f64(seconds as f64 * (1.0 + JITTER * (2.0 * jitter.clamp(0.0, 1.0) - 1.0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_cap() {
        let waits: Vec<_> = (0..8).map(|tries| delay(Schedule::Trouble, tries, 0.5).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 15, 30, 30, 30]);
        assert_eq!(delay(Schedule::Refusal, 99, 0.5).as_secs(), 300);
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        assert_eq!(delay(Schedule::Busy, 1, 0.0).as_millis(), 8_000);
        assert_eq!(delay(Schedule::Busy, 1, 1.0).as_millis(), 12_000);
    }
}
