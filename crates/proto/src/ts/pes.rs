//! PES packets (ISO 13818-1 section 2.4.3.6): one access unit, or several audio frames, with times.

use bytes::Bytes;

use super::tables::{AUDIO_PID, VIDEO_PID};

/// How far the clock reference is ahead of the decode time: 700 ms in ticks, which a player may buffer.
const CLOCK_LEAD: i64 = 63_000;
const TIME_MASK: i64 = 0x1_FFFF_FFFF;

/// The pieces of an elementary stream, without copying.
#[derive(Debug, Default)]
pub(super) struct Elements {
    parts: Vec<Bytes>,
    length: usize,
}

impl Elements {
    pub(super) fn push(&mut self, part: Bytes) {
        self.length += part.len();
        self.parts.push(part);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.length += other.length;
        self.parts.extend(other.parts);
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.parts.iter().map(Bytes::as_ref)
    }
}

/// One PES packet.
#[derive(Debug)]
pub(super) struct Pes {
    pub(super) pid: u16,
    stream_id: u8,
    pts: i64,
    pub(super) dts: i64,
    /// Contains the program's clock reference.
    pub(super) clock: bool,
    /// Decoding can start here.
    pub(super) random_access: bool,
    pub(super) elements: Elements,
}

impl Pes {
    pub(super) fn video(pts: i64, dts: i64, elements: Elements, random_access: bool) -> Self {
        Self { pid: VIDEO_PID, stream_id: 0xE0, pts, dts, clock: true, random_access, elements }
    }

    pub(super) fn audio(time: i64, elements: Elements, clock: bool) -> Self {
        Self { pid: AUDIO_PID, stream_id: 0xC0, pts: time, dts: time, clock, random_access: true, elements }
    }

    /// The clock reference: 33 bits at 90 kHz, 6 reserved bits, 9 bits at 27 MHz that are 0 (section 2.4.3.5).
    pub(super) fn clock_reference(&self) -> [u8; 6] {
        let base = ((self.dts - CLOCK_LEAD) & TIME_MASK) as u64;
        let field = base << 15 | 0x7E00;
        let [_, _, bytes @ ..] = field.to_be_bytes();
        bytes
    }

    /// The header, 14 or 19 bytes.
    pub(super) fn header(&self) -> Vec<u8> {
        let has_dts = self.dts != self.pts;
        let times = if has_dts { 10 } else { 5 };
        // The length is 0 (unspecified) if it does not fit, which is allowed for video.
        let length = u16::try_from(3 + times + self.elements.len()).unwrap_or(0).to_be_bytes();
        let flags = if has_dts { 0xC0 } else { 0x80 };
        let mut header = vec![0, 0, 1, self.stream_id, length[0], length[1], 0x80, flags, times as u8];
        header.extend(time_field(if has_dts { 3 } else { 2 }, self.pts));
        if has_dts {
            header.extend(time_field(1, self.dts));
        }
        header
    }

    pub(super) fn header_len(&self) -> usize {
        if self.dts == self.pts { 14 } else { 19 }
    }
}

/// A time in five bytes: 33 bits interleaved with marker bits.
fn time_field(prefix: u8, time: i64) -> [u8; 5] {
    let time = (time & TIME_MASK) as u64;
    [
        prefix << 4 | (time >> 30 << 1) as u8 & 0x0E | 1,
        (time >> 22) as u8,
        (time >> 15 << 1) as u8 | 1,
        (time >> 7) as u8,
        (time << 1) as u8 | 1,
    ]
}
