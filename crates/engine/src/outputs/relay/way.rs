//! The network path to a server, from the kernel's TCP statistics: why a destination is too slow.

use std::{collections::VecDeque, time::Duration};

use gostream_tcp::TcpInfo;
use tokio::time::Instant;

use crate::status::RelayError;

/// The path is judged over this time: at 1 Mbit/s, a loss of 0.1 % is two segments then.
const SPAN: Duration = Duration::from_secs(30);
/// Interval of the samples.
const NOTE_EVERY: Duration = Duration::from_secs(2);
/// A server with at least this minimum round-trip time is far away: another continent, or a satellite link.
const FAR: Duration = Duration::from_millis(80);
/// Retransmitted segments per 10,000 that make a path lossy.
const LOSSY: u64 = 100;
/// The same for a far server: with 10 of them, `cubic` carries only a fifth of a stream.
const LOSSY_IF_FAR: u64 = 5;
/// Why a destination is too slow.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Slow {
    /// The server does not open its window: it reads too slowly.
    #[error(
        "{host} takes the stream too slowly: data arrives, but the server limits how much may be in transit. Choose \
         another server of the platform, or lower the bitrate in your encoder. Meanwhile pictures are skipped."
    )]
    Server {
        /// The name.
        host: String,
    },
    /// Packets are lost on the path.
    #[error(
        "The way to {host} is {}lossy (round trip {rtt_ms} ms, {}.{} % sent again), and carries less than the stream \
         needs. Choose a nearer server of the platform, or lower the bitrate in your encoder{}. Meanwhile pictures are \
         skipped.",
        if *.far { "far and " } else { "" }, .resent / 100, .resent % 100 / 10,
        if *.bbr { "" } else { "; the operator of this server can enable `bbr`, which such connections need" }
    )]
    Lossy {
        /// The name.
        host: String,
        /// Whether the server is far away.
        far: bool,
        /// The round-trip time in ms.
        rtt_ms: u32,
        /// Retransmitted segments per 10,000.
        resent: u32,
        /// Whether connections use `bbr`.
        bbr: bool,
    },
    /// Neither: a link on the path is full.
    #[error(
        "The way from here to {host} carries less than the stream needs ({}.{} Mbit/s). Lower the bitrate in your \
         encoder, or choose another server of the platform. Meanwhile pictures are skipped.",
        .kbps / 1_000, .kbps % 1_000 / 100
    )]
    Way {
        /// The name.
        host: String,
        /// The acknowledged bitrate in kbit/s.
        kbps: u32,
    },
    /// Most destinations are too slow at the same time.
    #[error(
        "Several destinations are too slow at once: the uplink of this server is too small. Meanwhile pictures are \
         skipped."
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

    /// The reason for the status.
    pub fn for_status(&self) -> RelayError {
        RelayError { code: self.code(), message: self.to_string() }
    }
}

/// Recent TCP statistics of a connection.
#[derive(Debug, Default)]
pub(super) struct Way {
    notes: VecDeque<(Instant, TcpInfo)>,
}

impl Way {
    /// Adds a sample.
    pub(super) fn note(&mut self, now: Instant, info: TcpInfo) {
        if self.notes.back().is_some_and(|&(at, _)| now - at < NOTE_EVERY) {
            return;
        }
        self.notes.push_back((now, info));
        while self.notes.front().is_some_and(|&(at, _)| now - at > SPAN) {
            self.notes.pop_front();
        }
    }

    /// Why the destination is too slow. `info` is the current sample, where the kernel has one.
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

    /// A connection that sends 1,000 segments of 1,250 bytes per second.
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
    fn reason_is_found_from_tcp_statistics() {
        let reads_slowly = judged(|second, info| info.window_limited = SECOND * second * 9 / 10, false);
        assert_eq!(reads_slowly, Slow::Server { host: "h".to_owned() });
        // 34 % of the time is not enough to blame the server.
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
        assert!(sentence.contains("bbr") && !judged(far, true).to_string().contains("bbr"), "`bbr` is enabled already");
        let resent = |each: u32| move |second: u32, info: &mut TcpInfo| info.retransmitted_segments = second * each;
        assert!(matches!(judged(resent(1), false), Slow::Way { .. }), "0.1 % is little on a short path");
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
