//! A fragment: one `moof` with a `traf` per track, and an `mdat` that shares the bytes of the packets.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes};

use super::{
    boxes::{boxed, full_box},
    sample::{NON_SYNC, SYNC, Sample},
    track::{AUDIO_TRACK, VIDEO_TRACK},
};

/// Consecutive samples. The `moof` is built on first use.
#[derive(Debug)]
pub struct Fragment {
    /// Sequence number in the file, from 1.
    pub sequence: u32,
    /// Video samples, in decode order and without gaps.
    pub video: Vec<Sample>,
    /// Audio samples.
    pub audio: Vec<Sample>,
    head: OnceLock<Bytes>,
}

/// Bytes of the `mdat` header.
const MDAT_HEADER: usize = 8;

impl Fragment {
    /// A fragment of the given samples.
    pub fn new(sequence: u32, video: Vec<Sample>, audio: Vec<Sample>) -> Self {
        Self { sequence, video, audio, head: OnceLock::new() }
    }

    /// The fragment's bytes: the `moof` box, then the payloads, which are shared with the packets.
    pub fn bytes(&self) -> Vec<Bytes> {
        let head = self.head.get_or_init(|| self.head()).clone();
        let payloads = self.video.iter().chain(&self.audio).map(|sample| sample.payload.clone());
        std::iter::once(head).chain(payloads).collect()
    }

    /// Memory held, in bytes.
    pub fn held_bytes(&self) -> usize {
        let samples = self.video.len() + self.audio.len();
        self.payload_bytes() + samples * size_of::<Sample>() + self.head.get().map_or(0, Bytes::len)
    }

    /// Total length of [`Fragment::bytes`].
    pub fn len(&self) -> usize {
        let runs = [(self.video.len(), VIDEO_SAMPLE_BYTES), (self.audio.len(), AUDIO_SAMPLE_BYTES)];
        let heads = runs.iter().filter(|(samples, _)| *samples > 0).map(|(samples, bytes)| RUN_BYTES + samples * bytes);
        MOOF_BYTES + heads.sum::<usize>() + MDAT_HEADER + self.payload_bytes()
    }

    /// Whether it has no samples.
    pub fn is_empty(&self) -> bool {
        self.video.is_empty() && self.audio.is_empty()
    }

    fn payload_bytes(&self) -> usize {
        payload_bytes(&self.video) + payload_bytes(&self.audio)
    }

    /// `moof`, and the header of `mdat`.
    fn head(&self) -> Bytes {
        let mut out = Vec::with_capacity(self.len() - self.payload_bytes());
        boxed(&mut out, b"moof", |out| {
            full_box(out, b"mfhd", 0, 0, |out| out.put_u32(self.sequence));
            track_fragment(out, VIDEO_TRACK, &self.video, video_run);
            track_fragment(out, AUDIO_TRACK, &self.audio, audio_run);
        });
        // Payload offsets count from the start of `moof`, whose length is known only now.
        let mut offset = out.len() + MDAT_HEADER;
        let video = (!self.video.is_empty()).then_some(payload_bytes(&self.video));
        let audio = (!self.audio.is_empty()).then_some(payload_bytes(&self.audio));
        let mut place = DATA_OFFSET_PLACE;
        for (bytes, samples, sample_bytes) in
            [(video, &self.video, VIDEO_SAMPLE_BYTES), (audio, &self.audio, AUDIO_SAMPLE_BYTES)]
        {
            let Some(bytes) = bytes else { continue };
            if let Some(place) = out.get_mut(place..place + 4) {
                place.copy_from_slice(&(offset as u32).to_be_bytes());
            }
            offset += bytes;
            place += RUN_BYTES + samples.len() * sample_bytes;
        }
        // A fragment is a part of a segment, and segments are far below 4 GiB.
        out.put_u32((MDAT_HEADER + self.payload_bytes()) as u32);
        out.put_slice(b"mdat");
        out.into()
    }
}

/// Bytes of the `moof` header and of `mfhd`.
const MOOF_BYTES: usize = 8 + 16;
/// Position of the first data offset: after the headers of `traf` (8), `tfhd` (16), `tfdt` (20), and after `trun`'s
/// header, flags and sample count (16).
const DATA_OFFSET_PLACE: usize = MOOF_BYTES + 8 + 16 + 20 + 16;
/// Bytes of a `traf` without its samples: its header, `tfhd`, `tfdt`, and `trun` up to the data offset.
const RUN_BYTES: usize = 8 + 16 + 20 + 20;
/// Bytes per video sample: duration, size, flags, composition offset.
const VIDEO_SAMPLE_BYTES: usize = 16;
/// Bytes per audio sample: duration, size.
const AUDIO_SAMPLE_BYTES: usize = 8;

fn payload_bytes(samples: &[Sample]) -> usize {
    samples.iter().map(|sample| sample.payload.len()).sum()
}

/// Writes a `traf` with a 64-bit decode time; nothing for a track without samples.
fn track_fragment(out: &mut Vec<u8>, id: u32, samples: &[Sample], run: fn(&mut Vec<u8>, &[Sample])) {
    /// default-base-is-moof, without other defaults.
    const BASE_IS_MOOF: u32 = 0x02_0000;
    let Some(first) = samples.first() else { return };
    boxed(out, b"traf", |out| {
        full_box(out, b"tfhd", 0, BASE_IS_MOOF, |out| out.put_u32(id));
        // A file cannot contain times below 0.
        full_box(out, b"tfdt", 1, 0, |out| out.put_u64(first.dts.max(0).unsigned_abs()));
        run(out, samples);
    });
}

/// `trun` flags: which fields are present.
const DATA_OFFSET: u32 = 0x001;
const DURATION: u32 = 0x100;
const SIZE: u32 = 0x200;
const FLAGS: u32 = 0x400;
const COMPOSITION: u32 = 0x800;

fn video_run(out: &mut Vec<u8>, samples: &[Sample]) {
    full_box(out, b"trun", 1, DATA_OFFSET | DURATION | SIZE | FLAGS | COMPOSITION, |out| {
        out.put_u32(samples.len() as u32);
        out.put_u32(0);
        for sample in samples {
            out.put_u32(sample.duration);
            out.put_u32(sample.payload.len() as u32);
            out.put_u32(if sample.sync { SYNC } else { NON_SYNC });
            out.put_i32(sample.composition);
        }
    });
}

/// Flags come from `trex`: decoding can start at every audio sample.
fn audio_run(out: &mut Vec<u8>, samples: &[Sample]) {
    full_box(out, b"trun", 1, DATA_OFFSET | DURATION | SIZE, |out| {
        out.put_u32(samples.len() as u32);
        out.put_u32(0);
        for sample in samples {
            out.put_u32(sample.duration);
            out.put_u32(sample.payload.len() as u32);
        }
    });
}
