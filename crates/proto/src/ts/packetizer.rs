//! Transport packets (ISO 13818-1 section 2.4.3): 188 bytes each, counted per PID.

use bytes::Bytes;

use super::{
    pes::Pes,
    tables::{self, PAT_PID, PMT_PID, VIDEO_PID},
    track::Tracks,
};

const PACKET: usize = 188;
const PAYLOAD: usize = 184;
/// Bytes of an adaptation field with length, flags and clock reference.
const CLOCK_FIELD: usize = 8;
/// Bytes of an adaptation field with length and flags.
const FLAGS_FIELD: usize = 2;

/// The 4-bit continuity counters of each PID (section 2.4.3.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Continuity {
    pub(super) pat: u8,
    pub(super) pmt: u8,
    pub(super) video: u8,
    pub(super) audio: u8,
}

/// Writes transport packets, or only counts them.
#[derive(Debug)]
pub(super) struct Packetizer {
    continuity: Continuity,
    out: Option<Vec<u8>>,
}

impl Packetizer {
    pub(super) fn writing(continuity: Continuity, payload_bytes: usize) -> Self {
        // Headers and stuffing add a few percent.
        Self { continuity, out: Some(Vec::with_capacity(payload_bytes + payload_bytes / 16 + 8 * PACKET)) }
    }

    pub(super) fn counting(continuity: Continuity) -> Self {
        Self { continuity, out: None }
    }

    pub(super) fn continuity(&self) -> Continuity {
        self.continuity
    }

    pub(super) fn finish(self) -> Bytes {
        self.out.unwrap_or_default().into()
    }

    /// Writes PAT and PMT, at the start of a segment.
    pub(super) fn tables(&mut self, tracks: &Tracks) {
        for (pid, section) in [(PAT_PID, tables::association()), (PMT_PID, tables::map(tracks))] {
            let counter = self.count(pid, 1);
            if let Some(out) = &mut self.out {
                packet_header(out, pid, true, counter, 1);
                out.extend_from_slice(&section);
                out.resize(out.len() + PAYLOAD - section.len(), 0xFF);
            }
        }
    }

    /// Writes one PES packet into as many transport packets as it needs.
    pub(super) fn pes(&mut self, pes: &Pes) {
        let field = if pes.clock {
            CLOCK_FIELD
        } else if pes.random_access {
            FLAGS_FIELD
        } else {
            0
        };
        let total = pes.header_len() + pes.elements.len();
        let packets = (total + field).div_ceil(PAYLOAD);
        let first = self.count(pes.pid, packets);
        let Some(out) = &mut self.out else { return };
        let header = pes.header();
        let mut source = Source::new(std::iter::once(header.as_slice()).chain(pes.elements.parts()), total);
        for index in 0..packets {
            let counter = first.wrapping_add(index as u8) & 0x0F;
            let field = if index == 0 { field } else { 0 };
            let payload = source.left.min(PAYLOAD - field);
            let adaptation = PAYLOAD - payload;
            packet_header(out, pes.pid, index == 0, counter, if adaptation > 0 { 3 } else { 1 });
            adaptation_field(out, adaptation, (index == 0).then_some(pes));
            source.copy(payload, out);
        }
    }

    /// Reserves `packets` counter values of a PID and returns the first.
    fn count(&mut self, pid: u16, packets: usize) -> u8 {
        let counter = match pid {
            PAT_PID => &mut self.continuity.pat,
            PMT_PID => &mut self.continuity.pmt,
            VIDEO_PID => &mut self.continuity.video,
            _ => &mut self.continuity.audio,
        };
        let first = *counter;
        *counter = (usize::from(first) + packets) as u8 & 0x0F;
        first
    }
}

fn packet_header(out: &mut Vec<u8>, pid: u16, starts: bool, counter: u8, control: u8) {
    let [high, low] = pid.to_be_bytes();
    out.extend([0x47, u8::from(starts) << 6 | high, low, control << 4 | counter]);
}

/// Writes `size` bytes of adaptation field (section 2.4.3.4). `pes` is set for the first packet of a PES packet, which
/// has flags and may have a clock reference.
fn adaptation_field(out: &mut Vec<u8>, size: usize, pes: Option<&Pes>) {
    let Some(length) = size.checked_sub(1) else { return };
    let end = out.len() + size;
    out.push(length as u8);
    if length == 0 {
        return;
    }
    let clock = pes.filter(|pes| pes.clock);
    let random_access = pes.is_some_and(|pes| pes.random_access);
    out.push(u8::from(random_access) << 6 | u8::from(clock.is_some()) << 4);
    if let Some(pes) = clock {
        out.extend(pes.clock_reference());
    }
    out.resize(end, 0xFF);
}

/// Reads several byte slices as one.
struct Source<'a, I> {
    parts: I,
    current: &'a [u8],
    left: usize,
}

impl<'a, I: Iterator<Item = &'a [u8]>> Source<'a, I> {
    fn new(parts: I, total: usize) -> Self {
        Self { parts, current: &[], left: total }
    }

    fn copy(&mut self, mut count: usize, out: &mut Vec<u8>) {
        self.left -= count;
        while count > 0 {
            if self.current.is_empty() {
                let Some(next) = self.parts.next() else { return };
                self.current = next;
                continue;
            }
            let (taken, rest) = self.current.split_at(count.min(self.current.len()));
            out.extend_from_slice(taken);
            self.current = rest;
            count -= taken.len();
        }
    }
}
