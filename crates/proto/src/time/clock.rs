//! One clock for the two tracks of a broadcast.
//!
//! The encoder's times are kept: both the step between two packets of a track and the difference between the tracks.
//! They are compared with arrival times, which show when the encoder's clock jumped:
//!
//! ```text
//! step of the track's own times   accepted when
//! up to 1 s ahead, 0.5 s back     always (reordering, jitter), unless the track was silent while the other continued
//! more than 1 s ahead             as much time passed, or the packets catch up after a delay
//! anything else                   never: the packet is placed by its arrival
//! ```
//!
//! A single packet that does not fit is an outlier if the next one fits again. If the next one continues it, the track
//! has switched to another clock; the other track follows by the same difference if it jumps as well.

use super::{drift::DriftCorrection, main_track::MainTrack, timestamp::Timestamp};

/// Steps ahead up to this, in ms, are always accepted.
const STEP_MS: i64 = 1_000;
/// Steps back up to this, in ms, are reordering: three B-frames at 8 fps whose presentation times were sent as decode
/// times.
pub const REORDER_MS: i64 = 500;
/// Tracks whose first packets arrive within this time, in ms, began together; the difference between their times is
/// intended.
const TOGETHER_MS: i64 = 2_000;
/// The largest difference between tracks that can be intended, in ms: clocks of two devices started one after the
/// other.
const SKEW_MS: i64 = 300_000;
/// If no packets of either track arrive for longer than this, in ms, the encoder paused and may return with another
/// clock.
const STALL_MS: i64 = 3_500;
/// A track without a packet for longer than this, in ms, was silent.
const SILENT_MS: i64 = 2_000;
/// A track that begins or returns uses the same clock as the other if its time matches its arrival within this, in ms:
/// encoders use lookahead and send pictures later than the audio of the same moment.
const LATE_MS: i64 = 1_500;
/// Tracks that jump within this time of each other, in ms, may have jumped together.
const JOINT_MS: i64 = 10_000;
/// Minimum step between the packets of two encoders, in ms: a frame at 30 fps, rounded.
const GAP_MS: i64 = 33;
/// How much of a delay is forgotten per second: the drift of the slowest usual clock.
const LEAD_DECAY_PER_MILLE: i64 = 50;

/// Anomalies of an encoder's timestamps, reported to the stream's owner.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Findings {
    /// Packets whose time fitted neither the packet before nor the one after.
    pub outliers: u64,
    /// How often a clock was set to another time while media was flowing.
    pub jumps: u64,
    /// How much later pictures arrive than the audio of the same moment, in ms, if more than half a second; negative if
    /// audio is later.
    pub skew_ms: Option<i64>,
    /// How much faster than the wall clock the encoder's clock runs, in percent; negative if slower. `None` until the
    /// difference adds up to one second.
    pub drift_percent: Option<f64>,
}

/// Turns the 32-bit timestamps of one broadcast into [`Timestamp`]s.
///
/// Differences use serial-number arithmetic (RFC 1982), so the wrap after 49.7 days is seamless. It needs the time of
/// every packet of the two main tracks, in the order of arrival.
#[derive(Clone, Debug, Default)]
pub struct Clock {
    video: Option<TrackClock>,
    audio: Option<TrackClock>,
    /// Arrival of the encoder's first packet, in ms.
    began_ms: i64,
    /// The encoder restarted: the next packet starts new track clocks.
    restarted: bool,
    /// The newest jump of a single track.
    shift: Option<Shift>,
    /// The first track of an encoder that returned: its lead over its arrival, and the lead that it should have, in ms.
    resumed: Option<(i64, i64)>,
    newest: Option<Timestamp>,
    /// Arrival of the newest packet, in ms.
    arrived_ms: i64,
    /// Total time without packets of either track so far, in ms.
    quiet_ms: i64,
    drift: DriftCorrection,
    findings: Findings,
}

/// The clock of one track. `source` is the encoder's time in ms, with wraps and jumps removed.
#[derive(Clone, Debug)]
struct TrackClock {
    /// The newest packet that fitted.
    good: Point,
    /// The newest packet.
    last: Point,
    /// The newest packet did not fit.
    suspect: bool,
    /// The highest recent `source - arrived_ms`.
    lead_ms: i64,
    /// Recent step from packet to packet, in ms.
    step_ms: i64,
    /// [`Clock::quiet_ms`] at the newest packet.
    quiet_ms: i64,
    /// How much of that time was not counted before the suspect, in ms.
    uncounted_ms: i64,
    /// `source` of the other track at the newest packet that fitted.
    other_source: Option<i64>,
    /// Drift correction of the other track at the newest packet, in microseconds.
    other_correction_us: Option<i64>,
    /// The highest `source` so far.
    top: i64,
    /// Where the newest suspect was placed; packets that fit again are not placed before it.
    floor: i64,
    /// Total drift correction in microseconds: media time is `source` plus this.
    correction_us: i64,
}

#[derive(Clone, Copy, Debug)]
struct Point {
    wire: u32,
    source: i64,
    arrived_ms: i64,
}

/// One track switched to another clock.
#[derive(Clone, Copy, Debug)]
struct Shift {
    track: MainTrack,
    by_ms: i64,
    arrived_ms: i64,
}

impl Point {
    /// The source time of a packet with timestamp `wire` on the same clock.
    fn at(self, wire: u32) -> i64 {
        self.source + i64::from(wire.wrapping_sub(self.wire) as i32)
    }
}

impl TrackClock {
    fn begin(wire: u32, source: i64, arrived_ms: i64, correction_us: i64) -> Self {
        let point = Point { wire, source, arrived_ms };
        Self {
            good: point,
            last: point,
            suspect: false,
            lead_ms: source - arrived_ms,
            step_ms: GAP_MS,
            quiet_ms: 0,
            uncounted_ms: 0,
            other_source: None,
            other_correction_us: None,
            top: source,
            floor: i64::MIN,
            correction_us,
        }
    }

    fn time(&self, source: i64) -> i64 {
        source + self.correction_us.div_euclid(1_000)
    }

    /// Media time of the newest packet.
    fn newest(&self) -> i64 {
        self.time(self.last.source.max(self.floor))
    }

    /// Whether a packet's own time is consistent with its arrival.
    fn fits(&self, point: Point, other: Option<&Self>, quiet_ms: i64) -> bool {
        let step = point.source - self.good.source;
        let elapsed = point.arrived_ms - self.good.arrived_ms;
        // A later timestamp must not be placed before a packet that was placed by its arrival.
        let stamps_rise = is_ahead(self.good.wire, self.last.wire) && is_ahead(self.last.wire, point.wire);
        if step < -REORDER_MS || stamps_rise && point.source - self.last.source < -REORDER_MS {
            return false;
        }
        // The time of a silent track advances with the other track.
        let passed = other.zip(self.other_source).map_or(0, |(other, before)| other.last.source - before);
        if elapsed - self.stalled_ms(point.arrived_ms, quiet_ms) > SILENT_MS && passed - step > LATE_MS {
            return false;
        }
        step <= STEP_MS.max(elapsed + STEP_MS)
            || point.source - point.arrived_ms <= self.lead_at(point.arrived_ms) + STEP_MS
    }

    /// Whether a packet continues the suspect before it.
    fn continues_suspect(&self, wire: u32, arrived_ms: i64) -> bool {
        let step = self.last.at(wire) - self.last.source;
        let elapsed = arrived_ms - self.last.arrived_ms;
        self.suspect && (-REORDER_MS..=STEP_MS.max(elapsed + STEP_MS)).contains(&step)
    }

    /// The source time of a packet from its arrival, whatever its timestamp is: one step after the previous packet,
    /// unless more time passed than network delay explains. Then it is the time of a packet without delay. A period
    /// without packets of either track may have been a network stall.
    fn by_arrival(&self, arrived_ms: i64, quiet_ms: i64) -> i64 {
        let elapsed = arrived_ms - self.last.arrived_ms - self.stalled_ms(arrived_ms, quiet_ms);
        let is_step = (elapsed - self.step_ms).abs() <= REORDER_MS;
        let source = if is_step { self.last.source + self.step_ms } else { arrived_ms + self.lead_ms };
        source.max(self.last.source + 1)
    }

    /// How long no packets of either track arrived, if the track missed nothing else.
    fn stalled_ms(&self, arrived_ms: i64, quiet_ms: i64) -> i64 {
        let stalled_ms = quiet_ms - self.quiet_ms;
        let elapsed = arrived_ms - self.last.arrived_ms - stalled_ms;
        let is_stall = stalled_ms <= STALL_MS && (elapsed - self.step_ms).abs() <= REORDER_MS;
        if is_stall { stalled_ms } else { 0 }
    }

    /// Whether a packet on the clock that the other track switched to arrives on time.
    fn is_at_arrival(&self, moved: &Point, quiet_ms: i64) -> bool {
        let off = moved.source - self.by_arrival(moved.arrived_ms, quiet_ms);
        off.abs() <= LATE_MS && moved.source - self.last.source >= -REORDER_MS
    }

    fn lead_at(&self, arrived_ms: i64) -> i64 {
        self.lead_ms - (arrived_ms - self.last.arrived_ms) * LEAD_DECAY_PER_MILLE / 1_000
    }

    /// Makes the packet the newest one. `fits` is false for a packet placed by its arrival.
    fn advance(&mut self, point: Point, fits: bool, rate: f64, other: Option<&Self>) {
        let step = point.source - self.last.source;
        self.lead_ms = self.lead_at(point.arrived_ms).max(point.source - point.arrived_ms);
        if fits && (1..=STEP_MS).contains(&step) {
            self.step_ms = step;
        }
        // Reordered pictures do not advance the correction twice. A track that was silent gets the correction of the
        // other.
        let way = point.source - self.top;
        if let Some((other, before_us)) = other.zip(self.other_correction_us).filter(|_| way > SILENT_MS) {
            // A packet placed by its arrival needs no correction.
            self.correction_us += if fits { other.correction_us - before_us } else { 0 };
        } else if (1..=SILENT_MS).contains(&way) {
            self.correction_us += (way as f64 * rate * 1_000.0).round() as i64;
        }
        self.top = self.top.max(point.source);
        self.last = point;
        self.suspect = !fits;
        if !fits {
            self.floor = point.source;
        } else {
            self.good = point;
            self.other_source = other.map(|other| other.last.source);
        }
        self.other_correction_us = other.map(|other| other.correction_us);
    }
}

impl Clock {
    /// The media time of a packet with timestamp `wire` that arrived at `arrived_ms`, on a clock that never goes back.
    /// The very first packet keeps its own timestamp.
    pub fn place(&mut self, track: MainTrack, wire: u32, arrived_ms: i64) -> Timestamp {
        if std::mem::take(&mut self.restarted) {
            self.begin_again(track, wire, arrived_ms);
        }
        let (mut own, other) = match track {
            MainTrack::Video => (self.video.take(), self.audio.as_ref()),
            MainTrack::Audio => (self.audio.take(), self.video.as_ref()),
        };
        let rate = self.drift.rate(track);
        let since_any = arrived_ms - self.arrived_ms;
        self.quiet_ms += if since_any > REORDER_MS && self.newest.is_some() { since_any } else { 0 };
        let quiet_ms = self.quiet_ms;
        let line = match &mut own {
            None => {
                if other.is_none() {
                    self.began_ms = arrived_ms;
                }
                let (source, correction_us) =
                    first_of(wire, arrived_ms, other, arrived_ms - self.began_ms <= TOGETHER_MS);
                if let Some((lead_ms, base_ms)) = self.resumed.take() {
                    // The tracks are corrected towards their intended lead, which differs between them.
                    self.drift.resume(track, base_ms + source - arrived_ms - lead_ms);
                }
                own.insert(TrackClock::begin(wire, source, arrived_ms, correction_us))
            }
            Some(line) => {
                let point = Point { wire, source: line.good.at(wire), arrived_ms };
                let moved = self
                    .shift
                    .filter(|shift| shift.track != track && arrived_ms - shift.arrived_ms <= JOINT_MS)
                    .map(|shift| Point { source: point.source + shift.by_ms, ..point })
                    .filter(|moved| line.is_at_arrival(moved, quiet_ms));
                if line.fits(point, other, quiet_ms) {
                    self.findings.outliers += u64::from(line.suspect);
                    line.advance(point, true, rate, other);
                } else if let Some(moved) = moved {
                    line.advance(moved, true, rate, other);
                } else if line.continues_suspect(wire, arrived_ms) {
                    // The track switched to another clock, so this was not a stall.
                    let continued = Point { source: line.last.at(wire) + line.uncounted_ms, ..point };
                    self.shift = Some(Shift { track, by_ms: continued.source - point.source, arrived_ms });
                    self.findings.jumps += 1;
                    line.advance(continued, true, rate, other);
                } else {
                    let placed = Point { source: line.by_arrival(arrived_ms, quiet_ms), ..point };
                    line.uncounted_ms = line.stalled_ms(arrived_ms, quiet_ms);
                    line.advance(placed, false, rate, other);
                }
                line
            }
        };
        line.quiet_ms = quiet_ms;
        let time = Timestamp::from_ms(line.newest());
        match track {
            MainTrack::Video => self.video = own,
            MainTrack::Audio => self.audio = own,
        }
        self.newest = self.newest.max(Some(time));
        self.arrived_ms = arrived_ms;
        if self.drift.count(track, time.as_ms() - arrived_ms, arrived_ms) {
            self.findings.skew_ms = self.drift.skew_ms();
            self.findings.drift_percent = self.drift.drift_percent().or(self.findings.drift_percent);
        }
        time
    }

    /// The media time of a packet that belongs to a main track without being part of it (a side track, a marker), on
    /// the main track's clock.
    pub fn side_time(&self, track: MainTrack, wire: u32) -> Timestamp {
        let line = self.line(track).or(self.video.as_ref()).or(self.audio.as_ref());
        let newest = self.newest.unwrap_or(Timestamp::from_ms(wire.into()));
        let time = line.map_or(newest, |line| Timestamp::from_ms(line.time(line.good.at(wire))));
        // Markers without a time of their own have timestamp 0.
        if time.ms_since(newest).abs() > TOGETHER_MS { newest } else { time }
    }

    /// The encoder restarted: the next packet, whatever its timestamp, is placed after the newest one by the time
    /// between their arrivals.
    pub fn restart(&mut self) {
        self.restarted = self.newest.is_some();
    }

    /// The newest time of a track; without packets of that track, the newest time of all.
    pub fn newest_of(&self, track: MainTrack) -> Option<Timestamp> {
        self.line(track).map(|line| Timestamp::from_ms(line.newest())).or(self.newest)
    }

    /// The track's time on the encoder's own clock, in ms: jumps removed, drift not corrected.
    pub fn source_of(&self, track: MainTrack) -> Option<i64> {
        self.line(track).map(|line| line.top)
    }

    fn line(&self, track: MainTrack) -> Option<&TrackClock> {
        match track {
            MainTrack::Video => self.video.as_ref(),
            MainTrack::Audio => self.audio.as_ref(),
        }
    }

    /// The newest time of all tracks.
    pub fn newest(&self) -> Option<Timestamp> {
        self.newest
    }

    /// The anomalies found so far.
    pub fn findings(&self) -> Findings {
        self.findings
    }

    fn begin_again(&mut self, track: MainTrack, wire: u32, arrived_ms: i64) {
        // The tracks may differ: each continues from its own time, or at its arrival.
        let source = match self.line(track) {
            Some(line) => {
                let (newest, passed) = (line.newest(), arrived_ms - line.last.arrived_ms);
                let by_arrival = self.drift.base_ms(track).map_or(newest + passed, |base| arrived_ms + base);
                by_arrival.max(newest + GAP_MS)
            }
            None => self.newest.map_or(0, Timestamp::as_ms) + (arrived_ms - self.arrived_ms).max(GAP_MS),
        };
        let line = Some(TrackClock::begin(wire, source, arrived_ms, 0));
        (self.video, self.audio) = match track {
            MainTrack::Video => (line, None),
            MainTrack::Audio => (None, line),
        };
        let base_ms = std::mem::take(&mut self.drift).base_ms(track);
        if let Some(base_ms) = base_ms {
            self.drift.resume(track, base_ms);
        }
        self.resumed = base_ms.map(|base_ms| (source - arrived_ms, base_ms));
        (self.began_ms, self.shift) = (arrived_ms, None);
    }
}

/// Whether timestamp `to` is not before `from` (RFC 1982).
fn is_ahead(from: u32, to: u32) -> bool {
    to.wrapping_sub(from) as i32 >= 0
}

/// Where a track begins, and its drift correction at that point. `together`: both tracks begin now.
fn first_of(wire: u32, arrived_ms: i64, other: Option<&TrackClock>, together: bool) -> (i64, i64) {
    let Some(other) = other else { return (wire.into(), 0) };
    let silent_ms = arrived_ms - other.last.arrived_ms;
    let (shared, expected) = (other.good.at(wire), other.last.source + silent_ms);
    let apart = (shared - expected).abs();
    // A network stall delays both tracks.
    let stalled = silent_ms > STEP_MS && (shared - other.last.source).abs() <= LATE_MS;
    let is_shared = apart <= if together { SKEW_MS } else { LATE_MS } || stalled;
    (if is_shared { shared } else { expected }, other.correction_us)
}

#[cfg(test)]
mod tests;
