//! Simulated streams: the captured frames, the modifications (bends), and the messages sent.

use bytes::{BufMut as _, Bytes, BytesMut};
use gostream_proto::rtmp::media::{Media, MediaKind};
use gostream_testkit::{
    random::Random,
    script::{AAC_HEADER, AVC_HEADER},
};

/// Precedes the number of a frame in its bytes.
const MARK: &[u8] = b"FRAME";
/// Bytes of a number, with seven bits each.
const NUMBER_BYTES: usize = 4;

/// A longer time without arrivals is a pause, in ms.
const PAUSE_MS: i64 = 900;

/// One simulated stream.
pub(super) struct Show {
    /// The actions in order, each with its time in ms.
    pub(super) acts: Vec<(i64, Act)>,
    /// Every captured frame, by number.
    pub(super) frames: Vec<Frame>,
    pub(super) bends: Bends,
}

pub(super) enum Act {
    Send(Media),
    /// The encoder's connection is lost.
    Drop,
}

/// A captured frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) is_video: bool,
    pub(super) key: bool,
    /// Capture time in ms.
    pub(super) at_ms: i64,
    /// Arrival in ms.
    pub(super) arrived_ms: i64,
    /// Its timestamp is wrong.
    pub(super) is_outlier: bool,
    pub(super) is_sent: bool,
}

/// Start and length, in ms.
type Span = (i64, i64);

/// The modifications of a stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Bends {
    pub(super) fps: i64,
    gop: i64,
    pub(super) seconds: i64,
    start: u32,
    /// Added to the timestamps of pictures; a negative value is added to those of audio.
    skew_ms: i64,
    /// How much later pictures arrive than audio, in ms.
    pub(super) late_ms: i64,
    drift_percent: i64,
    jump: Option<(i64, i32)>,
    outlier_every: Option<u64>,
    /// Nothing is captured: of both tracks, of pictures, of audio.
    pause: Option<Span>,
    no_pictures: Option<Span>,
    no_sound: Option<Span>,
    /// The network delays everything.
    stall: Option<Span>,
    pub(super) jitter_ms: i64,
    /// Presentation times are sent as decode times, with two B-frames between other pictures.
    pub(super) reordered: bool,
    /// The encoder's connection is lost; it returns with its clock at 0.
    restart: Option<Span>,
    wrong_flags: bool,
    /// Repeats equal headers before each keyframe, with padding.
    repeats_headers: bool,
    slices: usize,
    empty_units: bool,
}

impl Bends {
    fn drawn(random: &mut Random) -> Self {
        let mut bends = Self {
            fps: *random.one_of(&[24, 25, 30, 50, 60]),
            seconds: random.within(25..70) as i64,
            slices: 1,
            start: *random.one_of(&[0, 0, 90_000, u32::MAX - 20_000]),
            jitter_ms: *random.one_of(&[0, 0, 15, 50]),
            ..Self::default()
        };
        bends.gop = bends.fps * *random.one_of(&[1, 2, 2, 3]);
        let span = |random: &mut Random, lasts: std::ops::Range<u64>| {
            Some((random.within(6_000..12_000) as i64, random.within(lasts) as i64))
        };
        let moment = |random: &mut Random| random.within(6_000..20_000) as i64;
        for _ in 0..random.within(1..4) {
            match random.within(0..15) {
                0 => bends.skew_ms = random.within(0..3_000) as i64 - 1_500,
                1 => bends.late_ms = random.within(0..1_300) as i64,
                // Distinguishing a slow clock from a narrow network takes half a minute.
                2 => (bends.drift_percent, bends.seconds) = (random.within(0..9) as i64 - 4, 150),
                3 => bends.jump = Some((moment(random), -(random.within(700..20_000_000) as i32))),
                4 => bends.jump = Some((moment(random), random.within(3_000..20_000_000) as i32)),
                5 => bends.outlier_every = Some(random.within(40..200)),
                6 => bends.pause = span(random, 1_000..12_000),
                7 => bends.no_pictures = span(random, 3_000..12_000),
                8 => bends.no_sound = span(random, 1_000..12_000),
                9 => bends.stall = span(random, 200..4_000),
                10 => bends.reordered = true,
                11 => bends.restart = span(random, 500..9_000),
                12 => bends.wrong_flags = true,
                13 => bends.repeats_headers = true,
                _ => (bends.slices, bends.empty_units) = (random.within(1..5) as usize, true),
            }
        }
        bends
    }
}

impl Show {
    /// Total time without arrivals, in ms; it may be missing in playlists.
    pub(super) fn away_ms(&self) -> i64 {
        let mut arrivals: Vec<_> = self.frames.iter().filter(|f| f.is_sent).map(|f| f.arrived_ms).collect();
        arrivals.sort_unstable();
        arrivals.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > PAUSE_MS).sum()
    }

    /// A returning encoder's clock is set by its first packet. If the network stalls then, the rest may be ahead by the
    /// length of the stall.
    pub(super) fn stalled_return_ms(&self) -> i64 {
        self.bends.restart.and(self.bends.stall).map_or(0, |(_, lasts_ms)| lasts_ms)
    }

    /// Offset in ms between a track that returned by arrival and one that continued by its clock.
    pub(super) fn drifted_ms(&self) -> i64 {
        let bends = &self.bends;
        let away_ms = [bends.no_pictures, bends.no_sound, bends.pause].into_iter().flatten().map(|(_, lasts)| lasts);
        away_ms.sum::<i64>() * bends.drift_percent.abs() / 100
    }

    /// Frames on another clock after a pause look like outliers after a stall until the next one arrives.
    pub(super) fn is_doubtful(&self, frame: &Frame) -> bool {
        let doubtful_ms = self.bends.pause.zip(self.bends.jump).and_then(|((from, lasts), (jumps_ms, _))| {
            (from..from + lasts).contains(&jumps_ms).then_some(from + lasts)
        });
        frame.is_outlier || doubtful_ms.is_some_and(|ms| (ms..ms + 1_000 / 20).contains(&frame.at_ms))
    }

    pub(super) fn drawn(random: &mut Random) -> Self {
        let bends = Bends::drawn(random);
        let mut frames = frames(&bends);
        arrive(&mut frames, &bends, random);
        let mut sent = Vec::new();
        for (number, frame) in frames.iter().enumerate().filter(|(_, frame)| frame.is_sent) {
            send(frame, number as u32, &bends, &mut sent);
        }
        sent.sort_by_key(|(at_ms, _)| *at_ms);
        let headers = |at_ms| {
            [(MediaKind::Video, AVC_HEADER), (MediaKind::Audio, AAC_HEADER)]
                .map(|(kind, body)| (at_ms, Act::Send(Media { kind, timestamp: 0, body: Bytes::from_static(body) })))
        };
        let mut acts: Vec<_> = headers(0).into();
        let mut restart = bends.restart;
        for (at_ms, media) in sent {
            if let Some((from, lasts)) = restart.filter(|(from, lasts)| at_ms >= from + lasts) {
                restart = None;
                acts.push((from, Act::Drop));
                acts.extend(headers(from + lasts));
            }
            acts.push((at_ms, Act::Send(media)));
        }
        Self { acts, frames, bends }
    }
}

/// The captured frames: pictures, and audio at 48 kHz.
fn frames(bends: &Bends) -> Vec<Frame> {
    let within = |span: Option<Span>, at_ms| span.is_some_and(|(from, lasts)| (from..from + lasts).contains(&at_ms));
    let frame = |is_video, at_ms| {
        let own = if is_video { bends.no_pictures } else { bends.no_sound };
        let is_sent = ![bends.pause, bends.restart, own].into_iter().any(|span| within(span, at_ms));
        Frame { is_video, key: !is_video, at_ms, arrived_ms: at_ms, is_outlier: false, is_sent }
    };
    let audio = (0..bends.seconds * 48_000 / 1_024).map(|n| frame(false, n * 1_024 / 48));
    let mut frames: Vec<_> = (0..bends.seconds * bends.fps).map(|n| frame(true, n * 1_000 / bends.fps)).collect();
    let (mut since_key, mut was_sent) = (0, true);
    for picture in &mut frames {
        // Encoders begin with a keyframe after a pause.
        picture.key = since_key % bends.gop == 0 || picture.is_sent && !was_sent;
        since_key = if picture.key { 1 } else { since_key + 1 };
        was_sent = picture.is_sent;
    }
    frames.extend(audio);
    frames.sort_by_key(|frame| frame.at_ms);
    frames
}

/// Sets the arrival of frames; each track stays in order.
fn arrive(frames: &mut [Frame], bends: &Bends, random: &mut Random) {
    let (mut newest, mut count) = ([0; 2], 0);
    for frame in frames.iter_mut().filter(|frame| frame.is_sent) {
        let late_ms = if frame.is_video { bends.late_ms } else { 0 };
        let mut at_ms = frame.at_ms + late_ms + random.within(0..bends.jitter_ms.unsigned_abs() + 1) as i64;
        if let Some((from, lasts)) = bends.stall
            && (from..from + lasts).contains(&at_ms)
        {
            at_ms = from + lasts;
        }
        if let Some((from, lasts)) = bends.restart {
            if frame.at_ms < from && at_ms >= from {
                // Data in transit is lost with the connection.
                frame.is_sent = false;
                continue;
            }
            if frame.at_ms >= from {
                at_ms = at_ms.max(from + lasts);
            }
        }
        let newest = &mut newest[usize::from(frame.is_video)];
        *newest = at_ms.max(*newest);
        frame.arrived_ms = *newest;
        count += 1;
        frame.is_outlier = frame.at_ms > 3_000 && bends.outlier_every.is_some_and(|every| count % every == 0);
    }
}

/// Adds the messages of a frame.
fn send(frame: &Frame, number: u32, bends: &Bends, sent: &mut Vec<(i64, Media)>) {
    let began_ms = bends.restart.filter(|(from, _)| frame.at_ms >= *from).map_or(0, |(from, lasts)| from + lasts);
    let mut ms = frame.at_ms - began_ms;
    ms += ms * bends.drift_percent / 100;
    if frame.is_video {
        ms += bends.skew_ms.max(0) + if bends.reordered { shown_later(frame, bends) } else { 0 };
    } else {
        ms -= bends.skew_ms.min(0);
    }
    let mut wire = bends.start.wrapping_add(ms as u32);
    if let Some((at_ms, by_ms)) = bends.jump
        && frame.at_ms >= at_ms
    {
        wire = wire.wrapping_add_signed(by_ms);
    }
    if frame.is_outlier {
        wire = wire.wrapping_add(50_000_000);
    }
    let mut push = |kind, body| sent.push((frame.arrived_ms, Media { kind, timestamp: wire, body }));
    if !frame.is_video {
        return push(MediaKind::Audio, [&[0xAF, 1, 0x21][..], &mark(number)].concat().into());
    }
    if bends.repeats_headers && frame.key {
        push(MediaKind::Video, [AVC_HEADER, &vec![0; number as usize % 3]].concat().into());
    }
    let is_flagged = frame.key != (bends.wrong_flags && number.is_multiple_of(3));
    let flag = if is_flagged { 0x17 } else { 0x27 };
    // first_mb_in_slice 0 and slice_type I or P; then further slices.
    let begin: [u8; 2] = if frame.key { [0x65, 0x88] } else { [0x41, 0x9A] };
    push(MediaKind::Video, tag(flag, &[&begin[..], &mark(number)].concat(), bends.empty_units));
    for _ in 1..bends.slices {
        push(MediaKind::Video, tag(flag, &[begin[0], 0x13, 0x55], bends.empty_units));
    }
}

/// How much later than its decode time a picture is shown, in ms, in a pattern of I P B B P B B.
fn shown_later(frame: &Frame, bends: &Bends) -> i64 {
    let place = (frame.at_ms * bends.fps + 500) / 1_000 % bends.gop;
    let frames = match place {
        0 => 0,
        place if place % 3 == 1 => 2,
        _ => -1,
    };
    frames * 1_000 / bends.fps
}

fn tag(flag: u8, unit: &[u8], with_empty: bool) -> Bytes {
    let mut body = BytesMut::new();
    body.put_slice(&[flag, 1, 0, 0, 0]);
    if with_empty {
        body.put_u32(0);
    }
    body.put_u32(unit.len() as u32);
    body.put_slice(unit);
    body.freeze()
}

/// The bytes that identify a frame in any output; never a start code.
fn mark(number: u32) -> Vec<u8> {
    let digits = (0..NUMBER_BYTES).rev().map(|place| (number >> (7 * place)) as u8 & 0x7F | 0x80);
    MARK.iter().copied().chain(digits).collect()
}

/// The numbers of the frames in `bytes`.
pub(super) fn marks(bytes: &[u8]) -> impl Iterator<Item = u32> {
    let number = |digits: &[u8]| digits.iter().fold(0, |number, digit| number << 7 | u32::from(digit & 0x7F));
    let windows = bytes.windows(MARK.len() + NUMBER_BYTES);
    windows.filter_map(move |window| window.strip_prefix(MARK).map(number))
}
