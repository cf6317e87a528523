//! Detects that the uplink of this server is too small: when most relays are late, to more than one host, no platform
//! is to blame. All projects share the uplink, so the relays of all count.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::StreamId;

/// The shortage has to last for this long before it is reported.
const BEGINS_AFTER: Duration = Duration::from_secs(3);
/// The report stays for this long after the last shortage: relays that have just skipped are
/// briefly not late.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// How often the reported values change.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// An uplink that carries at least this share of what is needed, in percent, is not short.
const SUFFICES_PERCENT: u64 = 97;

/// The load of all streams of this server.
#[derive(Debug, Default)]
pub(crate) struct Uplink(Mutex<Loads>);

/// The load of one stream, or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Connected destinations.
    pub(crate) destinations: u64,
    /// Connected relays.
    pub(crate) relays: u64,
    /// Number of late relays by host.
    pub(crate) behind: HashMap<String, u64>,
    /// Bitrate that all of them need.
    pub(crate) needed_kbps: u64,
    /// Bitrate that they achieve.
    pub(crate) sent_kbps: u64,
}

#[derive(Debug, Default)]
struct Loads {
    each: HashMap<StreamId, Load>,
    /// The sum of `each`, kept up to date: every stream reports twice a second.
    all: Load,
}

/// The sums of the load during a shortage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    destinations: u64,
    needed_kbps: u64,
    sent_kbps: u64,
}

impl Shortage {
    /// An explanation for the owner of a stream.
    pub(crate) fn sentence(self) -> String {
        let Self { destinations, needed_kbps, sent_kbps } = self;
        let mbit = |kbps: u64| kbps as f64 / 1_000.0;
        format!(
            "Your server's uplink is too small: {destinations} destinations need {:.1} Mbit/s together, {:.1} get \
             through. Lower the bitrate in your encoder, stop some destinations, or give the server a faster uplink. \
             Meanwhile pictures are skipped.",
            mbit(needed_kbps),
            mbit(sent_kbps)
        )
    }
}

impl Load {
    fn add(&mut self, other: &Self) {
        self.destinations += other.destinations;
        self.relays += other.relays;
        self.needed_kbps += other.needed_kbps;
        self.sent_kbps += other.sent_kbps;
        for (host, relays) in &other.behind {
            *self.behind.entry(host.clone()).or_default() += relays;
        }
    }

    fn subtract(&mut self, other: &Self) {
        self.destinations -= other.destinations;
        self.relays -= other.relays;
        self.needed_kbps -= other.needed_kbps;
        self.sent_kbps -= other.sent_kbps;
        for (host, relays) in &other.behind {
            if let Some(count) = self.behind.get_mut(host) {
                *count -= relays;
                if *count == 0 {
                    self.behind.remove(host);
                }
            }
        }
    }

    fn most_are_late(&self) -> bool {
        2 * self.behind.values().sum::<u64>() > self.relays
    }

    fn shortage(&self) -> Option<Shortage> {
        let most = self.most_are_late() && self.behind.len() >= 2;
        let short = 100 * self.sent_kbps < SUFFICES_PERCENT * self.needed_kbps;
        let Self { destinations, needed_kbps, sent_kbps, .. } = *self;
        (most && short).then_some(Shortage { destinations, needed_kbps, sent_kbps })
    }
}

impl Uplink {
    /// Replaces the load of a stream; returns the shortage, if the stream is affected.
    fn report(&self, stream: StreamId, load: Load) -> Option<Shortage> {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suffers = load.most_are_late();
        loads.all.add(&load);
        if let Some(before) = loads.each.insert(stream, load) {
            loads.all.subtract(&before);
        }
        if suffers { loads.all.shortage() } else { None }
    }

    fn forget(&self, stream: StreamId) {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = loads.each.remove(&stream) {
            loads.all.subtract(&before);
        }
    }
}

/// What is reported about the uplink to the owner of one stream.
#[derive(Debug)]
pub(crate) struct UplinkWatch {
    uplink: Arc<Uplink>,
    stream: StreamId,
    since: Option<Instant>,
    report: Option<Report>,
}

#[derive(Debug)]
struct Report {
    shortage: Shortage,
    /// When these values were measured.
    figures_at: Instant,
    /// When the shortage was last detected.
    seen_at: Instant,
}

impl UplinkWatch {
    /// For a new stream.
    pub(crate) fn new(uplink: Arc<Uplink>, stream: StreamId) -> Self {
        Self { uplink, stream, since: None, report: None }
    }

    /// Takes the current load of the stream; returns the shortage to report.
    pub(crate) fn report(&mut self, load: Load, now: Instant) -> Option<Shortage> {
        let found = self.uplink.report(self.stream, load);
        self.since = found.and(self.since.or(Some(now)));
        match (&mut self.report, found) {
            (Some(report), Some(shortage)) => {
                report.seen_at = now;
                if now - report.figures_at >= FIGURES_EVERY {
                    (report.shortage, report.figures_at) = (shortage, now);
                }
            }
            (Some(report), None) if now - report.seen_at >= OVER_AFTER => self.report = None,
            (report @ None, Some(shortage)) if self.since.is_some_and(|since| now - since >= BEGINS_AFTER) => {
                *report = Some(Report { shortage, figures_at: now, seen_at: now });
            }
            _ => {}
        }
        self.report.as_ref().map(|report| report.shortage)
    }
}

impl Drop for UplinkWatch {
    fn drop(&mut self) {
        self.uplink.forget(self.stream);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    /// Relays that need 6 Mbit/s each; those to `behind` achieve 3.
    fn load(relays: u64, behind: &[&str]) -> Load {
        let mut by_host = HashMap::new();
        behind.iter().for_each(|host| *by_host.entry((*host).to_owned()).or_default() += 1);
        Load {
            destinations: relays,
            relays,
            needed_kbps: relays * 6_000,
            sent_kbps: relays * 6_000 - behind.len() as u64 * 3_000,
            behind: by_host,
        }
    }

    fn watch(uplink: &Arc<Uplink>, n: u128) -> UplinkWatch {
        UplinkWatch::new(Arc::clone(uplink), StreamId(Uuid::from_u128(n)))
    }

    /// The report after ten seconds.
    fn after_ten_seconds(watch: &mut UplinkWatch, load: &Load) -> Option<Shortage> {
        let now = Instant::now();
        (0..20).fold(None, |_, n| watch.report(load.clone(), now + Duration::from_millis(500) * n))
    }

    #[test]
    fn most_relays_to_several_hosts_are_late() {
        for (relays, behind, short) in [
            (4, &["a", "b", "c"][..], true),
            (2, &["a", "b"], true),
            (4, &["a", "b"], false),
            (3, &["a", "a", "a"], false),
            (1, &["a"], false),
            (4, &[], false),
        ] {
            let shortage = after_ten_seconds(&mut watch(&Arc::default(), 1), &load(relays, behind));
            assert_eq!(shortage.is_some(), short, "{behind:?} of {relays}");
        }
        let shortage =
            after_ten_seconds(&mut watch(&Arc::default(), 1), &load(4, &["a", "b", "c"])).expect("is reported");
        let sentence = shortage.sentence();
        assert!(
            sentence.starts_with(
                "Your server's uplink is too small: 4 destinations need 24.0 Mbit/s together, 15.0 get through."
            ),
            "{sentence}"
        );
    }

    #[test]
    fn achieved_bitrate_is_no_shortage() {
        let through = Load { sent_kbps: 24_000, ..load(4, &["a", "b", "c"]) };
        assert_eq!(after_ten_seconds(&mut watch(&Arc::default(), 1), &through), None);
    }

    #[test]
    fn shortage_is_reported_and_cleared_with_a_delay() {
        let uplink = Arc::default();
        let mut watch = watch(&uplink, 1);
        let began = Instant::now();
        let mut at = |second: u64, load: Load| watch.report(load, began + Duration::from_secs(second)).is_some();
        assert!(!at(0, load(2, &["a", "b"])) && !at(2, load(2, &["a", "b"])));
        assert!(!at(3, load(2, &[])) && !at(4, load(2, &["a", "b"])), "an interruption restarts the wait");
        assert!(at(7, load(2, &["a", "b"])));
        assert!(at(10, load(2, &[])) && at(16, load(2, &[])));
        assert!(!at(17, load(2, &[])));
    }

    #[test]
    fn streams_share_the_uplink() {
        let uplink = Arc::default();
        let (mut mine, mut other) = (watch(&uplink, 1), watch(&uplink, 2));
        // Both destinations of this stream are late; those of the other stream are not.
        after_ten_seconds(&mut other, &load(10, &[]));
        assert_eq!(after_ten_seconds(&mut mine, &load(2, &["a", "b"])), None);
        // One destination each, both late.
        after_ten_seconds(&mut other, &load(1, &["c"]));
        let shortage = after_ten_seconds(&mut mine, &load(1, &["a"])).expect("is reported");
        assert_eq!((shortage.destinations, shortage.needed_kbps, shortage.sent_kbps), (2, 12_000, 6_000));
        let mut third = watch(&uplink, 3);
        assert_eq!(after_ten_seconds(&mut third, &load(1, &[])), None, "an unaffected stream gets no report");
        // Slow servers of other streams do not explain the one that is slow here.
        after_ten_seconds(&mut other, &load(9, &["c"; 9]));
        assert_eq!(after_ten_seconds(&mut watch(&uplink, 4), &load(3, &["a"])), None);
        after_ten_seconds(&mut other, &load(1, &["c"]));
        drop(third);
        drop(other);
        drop(mine);
        let loads = uplink.0.lock().expect("no test panics inside");
        assert!(loads.each.is_empty() && loads.all.behind.is_empty());
        assert_eq!((loads.all.relays, loads.all.needed_kbps, loads.all.sent_kbps), (0, 0, 0));
    }
}
