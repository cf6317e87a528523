//! Whether the uplink of this server is too small: when most of what it sends falls behind, and to more than one host, no
//! platform is to blame. All projects share the uplink, so all of them count.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::spec::StreamId;

/// It has to be so for this long, or a moment would be told.
const BEGINS_AFTER: Duration = Duration::from_secs(3);
/// What is told stays for this long after it was last so: relays that skipped are near again for a moment.
const OVER_AFTER: Duration = Duration::from_secs(10);
/// How often the figures that are told change.
const FIGURES_EVERY: Duration = Duration::from_secs(5);
/// Of what is needed, this much in percent gets through a line that suffices.
const SUFFICES_PERCENT: u64 = 97;

/// What all streams of this server send.
#[derive(Debug, Default)]
pub(crate) struct Uplink(Mutex<Loads>);

/// What the relays of one stream send, or those of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Load {
    /// Destinations that are connected.
    pub(crate) destinations: u64,
    /// Their relays.
    pub(crate) relays: u64,
    /// Those that fall behind, by host.
    pub(crate) behind: HashMap<String, u64>,
    /// What all of them need.
    pub(crate) needed_kbps: u64,
    /// What gets through.
    pub(crate) sent_kbps: u64,
}

#[derive(Debug, Default)]
struct Loads {
    each: HashMap<StreamId, Load>,
    /// The sum, kept along: every stream reports twice a second.
    all: Load,
}

/// The sums of all that is sent, when it does not get through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    destinations: u64,
    needed_kbps: u64,
    sent_kbps: u64,
}

impl Shortage {
    /// For the owner of a stream.
    pub(crate) fn sentence(self) -> String {
        let Self { destinations, needed_kbps, sent_kbps } = self;
        let mbit = |kbps: u64| kbps as f64 / 1_000.0;
        format!(
            "Your server's uplink is too small: {destinations} destinations need {:.1} Mbit/s together, {:.1} get through. Lower \
             the bitrate in your encoder, stop some destinations, or give the server a faster line. Meanwhile pictures are \
             skipped.",
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

    fn most_fall_behind(&self) -> bool {
        2 * self.behind.values().sum::<u64>() > self.relays
    }

    fn shortage(&self) -> Option<Shortage> {
        let most = self.most_fall_behind() && self.behind.len() >= 2;
        let short = 100 * self.sent_kbps < SUFFICES_PERCENT * self.needed_kbps;
        let Self { destinations, needed_kbps, sent_kbps, .. } = *self;
        (most && short).then_some(Shortage { destinations, needed_kbps, sent_kbps })
    }
}

impl Uplink {
    /// Takes what a stream sends now in place of what it sent before; gives the shortage, if the stream suffers from it.
    fn report(&self, stream: StreamId, load: Load) -> Option<Shortage> {
        let mut loads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let suffers = load.most_fall_behind();
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

/// What is told of the uplink to the owner of one stream.
#[derive(Debug)]
pub(crate) struct UplinkWatch {
    uplink: Arc<Uplink>,
    stream: StreamId,
    since: Option<Instant>,
    told: Option<Told>,
}

#[derive(Debug)]
struct Told {
    shortage: Shortage,
    /// When these figures were taken.
    figures_at: Instant,
    /// When it was last so.
    seen_at: Instant,
}

impl UplinkWatch {
    /// Of a stream that begins.
    pub(crate) fn new(uplink: Arc<Uplink>, stream: StreamId) -> Self {
        Self { uplink, stream, since: None, told: None }
    }

    /// Takes what the stream sends now; gives what to tell.
    pub(crate) fn report(&mut self, load: Load, now: Instant) -> Option<Shortage> {
        let found = self.uplink.report(self.stream, load);
        self.since = found.and(self.since.or(Some(now)));
        match (&mut self.told, found) {
            (Some(told), Some(shortage)) => {
                told.seen_at = now;
                if now - told.figures_at >= FIGURES_EVERY {
                    (told.shortage, told.figures_at) = (shortage, now);
                }
            }
            (Some(told), None) if now - told.seen_at >= OVER_AFTER => self.told = None,
            (told @ None, Some(shortage)) if self.since.is_some_and(|since| now - since >= BEGINS_AFTER) => {
                *told = Some(Told { shortage, figures_at: now, seen_at: now });
            }
            _ => {}
        }
        self.told.as_ref().map(|told| told.shortage)
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

    /// Relays of 6 Mbit/s, of which those to `behind` carry 3.
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

    /// What is told after ten seconds.
    fn after_ten_seconds(watch: &mut UplinkWatch, load: &Load) -> Option<Shortage> {
        let now = Instant::now();
        (0..20).fold(None, |_, n| watch.report(load.clone(), now + Duration::from_millis(500) * n))
    }

    #[test]
    fn most_of_several_hosts_fall_behind_together() {
        for (relays, behind, short) in [
            (4, &["a", "b", "c"][..], true),
            (2, &["a", "b"], true),
            (4, &["a", "b"], false),
            (3, &["a", "a", "a"], false),
            (1, &["a"], false),
            (4, &[], false),
        ] {
            let told = after_ten_seconds(&mut watch(&Arc::default(), 1), &load(relays, behind));
            assert_eq!(told.is_some(), short, "{behind:?} of {relays}");
        }
        let told = after_ten_seconds(&mut watch(&Arc::default(), 1), &load(4, &["a", "b", "c"])).expect("is told");
        let sentence = told.sentence();
        assert!(
            sentence.starts_with(
                "Your server's uplink is too small: 4 destinations need 24.0 Mbit/s together, 15.0 get through."
            ),
            "{sentence}"
        );
    }

    #[test]
    fn what_gets_through_again_is_no_shortage() {
        let through = Load { sent_kbps: 24_000, ..load(4, &["a", "b", "c"]) };
        assert_eq!(after_ten_seconds(&mut watch(&Arc::default(), 1), &through), None);
    }

    #[test]
    fn it_lasts_before_it_is_told_and_is_over_some_time_after() {
        let uplink = Arc::default();
        let mut watch = watch(&uplink, 1);
        let began = Instant::now();
        let mut at = |second: u64, load: Load| watch.report(load, began + Duration::from_secs(second)).is_some();
        assert!(!at(0, load(2, &["a", "b"])) && !at(2, load(2, &["a", "b"])));
        assert!(!at(3, load(2, &[])) && !at(4, load(2, &["a", "b"])), "a moment without it begins again");
        assert!(at(7, load(2, &["a", "b"])));
        assert!(at(10, load(2, &[])) && at(16, load(2, &[])));
        assert!(!at(17, load(2, &[])));
    }

    #[test]
    fn the_streams_of_a_server_share_it() {
        let uplink = Arc::default();
        let (mut mine, mut other) = (watch(&uplink, 1), watch(&uplink, 2));
        // My two destinations fall behind; those of others do not.
        after_ten_seconds(&mut other, &load(10, &[]));
        assert_eq!(after_ten_seconds(&mut mine, &load(2, &["a", "b"])), None);
        // One each, and both behind.
        after_ten_seconds(&mut other, &load(1, &["c"]));
        let told = after_ten_seconds(&mut mine, &load(1, &["a"])).expect("is told");
        assert_eq!((told.destinations, told.needed_kbps, told.sent_kbps), (2, 12_000, 6_000));
        let mut third = watch(&uplink, 3);
        assert_eq!(after_ten_seconds(&mut third, &load(1, &[])), None, "who does not suffer is told nothing");
        // Slow servers of others are no reason for the one that is slow here.
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
