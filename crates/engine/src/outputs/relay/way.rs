//! What the way to a server is like, by what the kernel knows of the connection: why a destination falls behind, and whose
//! it is.

use std::{collections::VecDeque, time::Duration};

use gostream_tcp::TcpInfo;
use tokio::time::Instant;

use crate::status::RelayError;

/// The way is judged over this much time: at 1 Mbit/s a loss of 0.1 % is two segments then.
const SPAN: Duration = Duration::from_secs(30);
/// How often it is noted.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// From this shortest round trip on a server is far away: another continent, or a satellite.
const FAR: Duration = Duration::from_millis(80);
/// Resent segments of 10,000 that make a way lossy.
const LOSSY: u64 = 100;
/// The same over a far way, where `cubic` carries a fifth of a stream with 10 of them.
const LOSSY_IF_FAR: u64 = 5;
/// Why a destination falls behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Slow {
    /// The server does not open its window further: it reads too slowly.
    #[error(
        "{host} takes the stream too slowly: what is sent arrives, and the server lets no more be on its way. Choose another \
         server of the platform, or lower the bitrate in your encoder. Meanwhile pictures are skipped."
    )]
    Server {
        /// The name.
        host: String,
    },
    /// Packets are lost on the way.
    #[error(
        "The way to {host} is {}lossy (round trip {rtt_ms} ms, {}.{} % sent again), and carries less than the stream needs. \
         Choose a nearer server of the platform, or lower the bitrate in your encoder{}. Meanwhile pictures are skipped.",
        if *.far { "far and " } else { "" }, .resent / 100, .resent % 100 / 10,
        if *.bbr { "" } else { "; the operator of this server can switch on `bbr`, which such ways need" }
    )]
    Lossy {
        /// The name.
        host: String,
        /// Whether it is far away.
        far: bool,
        /// The round trip.
        rtt_ms: u32,
        /// Segments of 10,000 that were sent again.
        resent: u32,
        /// Whether connections use `bbr`.
        bbr: bool,
    },
    /// Neither: somewhere between here and there the line is full.
    #[error(
        "The way from here to {host} carries less than the stream needs ({}.{} Mbit/s). Lower the bitrate in your encoder, or \
         choose another server of the platform. Meanwhile pictures are skipped.",
        .kbps / 1_000, .kbps % 1_000 / 100
    )]
    Way {
        /// The name.
        host: String,
        /// What arrived.
        kbps: u32,
    },
    /// Most destinations fall behind together.
    #[error(
        "It falls behind together with others: the uplink of this server is too small. Meanwhile pictures are skipped."
    )]
    Uplink,
}

impl Slow {
    /// The stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Server { .. } => "slow_server",
            Self::Lossy { .. } => "lossy_way",
            Self::Way { .. } => "narrow_way",
            Self::Uplink => "uplink_too_small",
        }
    }

    /// For the status.
    pub fn for_status(&self) -> RelayError {
        RelayError { code: self.code(), message: self.to_string() }
    }
}

/// What the kernel said of a connection lately.
#[derive(Debug, Default)]
pub(super) struct Way {
    notes: VecDeque<(Instant, TcpInfo)>,
}

impl Way {
    /// Notes what the kernel says.
    pub(super) fn note(&mut self, now: Instant, info: TcpInfo) {
        if self.notes.back().is_some_and(|&(at, _)| now - at < NOTE_EVERY) {
            return;
        }
        self.notes.push_back((now, info));
        while self.notes.front().is_some_and(|&(at, _)| now - at > SPAN) {
            self.notes.pop_front();
        }
    }

    /// Why the destination falls behind. `info` is what the kernel says now, where it does.
    pub(super) fn judge(&self, host: &str, now: Instant, info: Option<TcpInfo>, bbr: bool) -> Slow {
        let host = host.to_owned();
        let (Some(info), Some(&(noted_at, before))) = (info, self.notes.front()) else {
            return Slow::Way { host, kbps: 0 };
        };
        let busy = info.busy.saturating_sub(before.busy);
        let held = info.window_limited.saturating_sub(before.window_limited);
        if !held.is_zero() && 2 * held >= busy {
            return Slow::Server { host };
        }
        let sent = u64::from(info.sent_segments.wrapping_sub(before.sent_segments)).max(1);
        let resent = u64::from(info.retransmitted_segments.wrapping_sub(before.retransmitted_segments));
        let resent = 10_000 * resent.min(sent) / sent;
        let far = info.min_rtt >= FAR;
        if resent >= if far { LOSSY_IF_FAR } else { LOSSY } {
            return Slow::Lossy { host, far, rtt_ms: info.rtt.as_millis() as u32, resent: resent as u32, bbr };
        }
        let bits = info.acknowledged_bytes.saturating_sub(before.acknowledged_bytes) as f64 * 8.0;
        let kbps = bits / (now - noted_at).as_secs_f64().max(0.5) / 1_000.0;
        Slow::Way { host, kbps: kbps as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A connection that sends 1,000 segments of 1,250 bytes a second.
    fn at(second: u32, change: impl FnOnce(&mut TcpInfo)) -> TcpInfo {
        let mut info = TcpInfo {
            rtt: Duration::from_millis(30),
            min_rtt: Duration::from_millis(20),
            acknowledged_bytes: u64::from(second) * 1_250_000,
            sent_segments: second * 1_000,
            busy: SECOND * second,
            ..TcpInfo::default()
        };
        change(&mut info);
        info
    }

    fn judged(change: impl Fn(u32, &mut TcpInfo), bbr: bool) -> Slow {
        let (mut way, began) = (Way::default(), Instant::now());
        for second in 0..60 {
            way.note(began + SECOND * second, at(second, |info| change(second, info)));
        }
        way.judge("h", began + SECOND * 60, Some(at(60, |info| change(60, info))), bbr)
    }

    #[test]
    fn it_is_known_whose_it_is() {
        let reads_slowly = judged(|second, info| info.window_limited = SECOND * second * 9 / 10, false);
        assert_eq!(reads_slowly, Slow::Server { host: "h".to_owned() });
        // One percent more than a third of the time says nothing.
        let sometimes = judged(|second, info| info.window_limited = SECOND * second * 34 / 100, false);
        assert_eq!(sometimes, Slow::Way { host: "h".to_owned(), kbps: 10_000 });
        let far = |second: u32, info: &mut TcpInfo| {
            (info.rtt, info.min_rtt) = (Duration::from_millis(251), Duration::from_millis(250));
            info.retransmitted_segments = second * 13;
        };
        let lossy = judged(far, false);
        assert_eq!(lossy, Slow::Lossy { host: "h".to_owned(), far: true, rtt_ms: 251, resent: 130, bbr: false });
        let sentence = lossy.to_string();
        assert!(
            sentence.starts_with("The way to h is far and lossy (round trip 251 ms, 1.3 % sent again)"),
            "{sentence}"
        );
        assert!(sentence.contains("bbr") && !judged(far, true).to_string().contains("bbr"), "it is on already");
        let resent = |each: u32| move |second: u32, info: &mut TcpInfo| info.retransmitted_segments = second * each;
        assert!(matches!(judged(resent(1), false), Slow::Way { .. }), "0.1 % is little on a near way");
        assert!(matches!(judged(resent(20), false), Slow::Lossy { far: false, resent: 200, .. }));
        let far_and_little = |second: u32, info: &mut TcpInfo| {
            info.min_rtt = Duration::from_millis(250);
            info.retransmitted_segments = second;
        };
        assert!(matches!(judged(far_and_little, false), Slow::Lossy { far: true, resent: 10, .. }));
    }

    #[test]
    fn only_the_last_half_minute_counts() {
        let was_lossy = judged(|second, info| info.retransmitted_segments = second.min(20) * 50, false);
        assert!(matches!(was_lossy, Slow::Way { .. }), "{was_lossy:?}");
    }
}
