//! The init segment: `ftyp` and a `moov` without samples.

use bytes::{BufMut, Bytes};

use super::{
    boxes::{boxed, full_box},
    clock::VIDEO_TICKS_PER_MS,
    sample::{NON_SYNC, SYNC},
    track::{AUDIO_TRACK, Audio, Config, Tracks, VIDEO_TRACK, Video},
};

/// Ticks per second of the movie header.
const MOVIE_TIMESCALE: u32 = 1_000;
/// 1 as a 16.16 fixed-point number, then as 8.8.
const ONE: u32 = 0x0001_0000;
const FULL_VOLUME: u16 = 0x0100;
/// The language "und" as three 5-bit letters.
const UNDETERMINED: u16 = 0x55C4;
/// The identity matrix.
const UNITY: [u32; 9] = [ONE, 0, 0, 0, ONE, 0, 0, 0, 0x4000_0000];

/// The init segment of the given tracks.
pub fn init(tracks: &Tracks) -> Bytes {
    let mut out = Vec::with_capacity(1_024);
    boxed(&mut out, b"ftyp", |out| {
        // iso5: data offsets count from `moof`. iso6: 64-bit decode times and signed composition offsets.
        out.put_slice(b"iso6\0\0\0\x01iso5iso6mp41");
    });
    boxed(&mut out, b"moov", |out| {
        movie_header(out);
        if let Some(video) = &tracks.video {
            video_track(out, video);
        }
        if let Some(audio) = &tracks.audio {
            audio_track(out, audio);
        }
        boxed(out, b"mvex", |out| {
            // Sample description 1. Durations and sizes are per sample, and so are the flags of pictures.
            if tracks.video.is_some() {
                full_box(out, b"trex", 0, 0, |out| put_all(out, &[VIDEO_TRACK, 1, 0, 0, NON_SYNC]));
            }
            if tracks.audio.is_some() {
                full_box(out, b"trex", 0, 0, |out| put_all(out, &[AUDIO_TRACK, 1, 0, 0, SYNC]));
            }
        });
    });
    out.into()
}

fn movie_header(out: &mut Vec<u8>) {
    full_box(out, b"mvhd", 0, 0, |out| {
        // Creation and modification time 0, and no duration because the stream is live.
        put_all(out, &[0, 0, MOVIE_TIMESCALE, 0, ONE]);
        out.put_u16(FULL_VOLUME);
        out.put_bytes(0, 10);
        put_all(out, &UNITY);
        out.put_bytes(0, 24);
        out.put_u32(AUDIO_TRACK + 1);
    });
}

fn video_track(out: &mut Vec<u8>, video: &Video) {
    boxed(out, b"trak", |out| {
        track_header(out, VIDEO_TRACK, 0, (video.width, video.height));
        boxed(out, b"mdia", |out| {
            media_header(out, VIDEO_TICKS_PER_MS as u32 * 1_000);
            handler(out, b"vide", b"Video\0");
            boxed(out, b"minf", |out| {
                full_box(out, b"vmhd", 0, 1, |out| out.put_bytes(0, 8));
                data_information(out);
                sample_table(out, |out| video_entry(out, video));
            });
        });
    });
}

fn audio_track(out: &mut Vec<u8>, audio: &Audio) {
    boxed(out, b"trak", |out| {
        track_header(out, AUDIO_TRACK, FULL_VOLUME, (0, 0));
        boxed(out, b"mdia", |out| {
            media_header(out, audio.rate);
            handler(out, b"soun", b"Audio\0");
            boxed(out, b"minf", |out| {
                full_box(out, b"smhd", 0, 0, |out| out.put_bytes(0, 4));
                data_information(out);
                sample_table(out, |out| audio_entry(out, audio));
            });
        });
    });
}

fn track_header(out: &mut Vec<u8>, id: u32, volume: u16, size: (u16, u16)) {
    /// Track flags: enabled, and part of the presentation.
    const SHOWN: u32 = 3;
    full_box(out, b"tkhd", 0, SHOWN, |out| {
        put_all(out, &[0, 0, id, 0, 0, 0, 0]);
        out.put_bytes(0, 4);
        out.put_u16(volume);
        out.put_u16(0);
        put_all(out, &UNITY);
        put_all(out, &[u32::from(size.0) << 16, u32::from(size.1) << 16]);
    });
}

fn media_header(out: &mut Vec<u8>, timescale: u32) {
    full_box(out, b"mdhd", 0, 0, |out| {
        put_all(out, &[0, 0, timescale, 0]);
        out.put_u16(UNDETERMINED);
        out.put_u16(0);
    });
}

fn handler(out: &mut Vec<u8>, kind: &[u8; 4], name: &[u8]) {
    full_box(out, b"hdlr", 0, 0, |out| {
        out.put_u32(0);
        out.put_slice(kind);
        out.put_bytes(0, 12);
        out.put_slice(name);
    });
}

/// A data reference to the same file.
fn data_information(out: &mut Vec<u8>) {
    boxed(out, b"dinf", |out| {
        full_box(out, b"dref", 0, 0, |out| {
            out.put_u32(1);
            full_box(out, b"url ", 0, 1, |_| {});
        });
    });
}

/// One sample description, and empty tables: the samples are in the fragments.
fn sample_table(out: &mut Vec<u8>, entry: impl FnOnce(&mut Vec<u8>)) {
    boxed(out, b"stbl", |out| {
        full_box(out, b"stsd", 0, 0, |out| {
            out.put_u32(1);
            entry(out);
        });
        for empty in [b"stts", b"stsc", b"stco"] {
            full_box(out, empty, 0, 0, |out| out.put_u32(0));
        }
        full_box(out, b"stsz", 0, 0, |out| out.put_u64(0));
    });
}

/// VisualSampleEntry (section 12.1.3.2).
fn video_entry(out: &mut Vec<u8>, video: &Video) {
    /// 72 dots per inch, as 16.16.
    const RESOLUTION: u32 = 72 << 16;
    const DEPTH_WITHOUT_ALPHA: u16 = 24;
    boxed(out, &video.entry, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1);
        out.put_bytes(0, 16);
        out.put_u16(video.width);
        out.put_u16(video.height);
        put_all(out, &[RESOLUTION, RESOLUTION, 0]);
        out.put_u16(1);
        out.put_bytes(0, 32);
        out.put_u16(DEPTH_WITHOUT_ALPHA);
        out.put_i16(-1);
        boxed(out, &video.config, |out| out.put_slice(&video.record));
    });
}

/// AudioSampleEntry (section 12.2.3.2).
fn audio_entry(out: &mut Vec<u8>, audio: &Audio) {
    const SAMPLE_BITS: u16 = 16;
    let name = if matches!(audio.config, Config::Opus(_)) { b"Opus" } else { b"mp4a" };
    boxed(out, name, |out| {
        out.put_bytes(0, 6);
        out.put_u16(1);
        out.put_bytes(0, 8);
        out.put_u16(audio.channels.into());
        out.put_u16(SAMPLE_BITS);
        out.put_u32(0);
        // 16.16 fixed point: a rate that does not fit is only in the codec header.
        out.put_u32(u16::try_from(audio.rate).map_or(0, |rate| u32::from(rate) << 16));
        match &audio.config {
            Config::Aac { record, .. } => full_box(out, b"esds", 0, 0, |out| elementary_stream(out, record)),
            Config::Opus(head) => boxed(out, b"dOps", |out| out.put_slice(&head.specific_box())),
        }
    });
}

/// ES_Descriptor (ISO 14496-1 section 7.2.6.5) around an AudioSpecificConfig.
fn elementary_stream(out: &mut Vec<u8>, config: &[u8]) {
    /// objectTypeIndication (table 5): ISO 14496-3 audio.
    const AAC: u8 = 0x40;
    /// streamType 5, audio, and the reserved bit.
    const AUDIO_STREAM: u8 = 0x15;
    /// Bytes of a descriptor's tag and size, and of the sync layer descriptor.
    const TAG_AND_SIZE: usize = 5;
    const DECODER_FIELDS: usize = 13;
    let decoder = DECODER_FIELDS + TAG_AND_SIZE + config.len();
    descriptor(out, 3, 3 + TAG_AND_SIZE + decoder + TAG_AND_SIZE + 1);
    out.put_u16(0);
    out.put_u8(0);
    descriptor(out, 4, decoder);
    out.put_u8(AAC);
    out.put_u8(AUDIO_STREAM);
    // Buffer size and bitrates are unknown.
    out.put_bytes(0, 11);
    descriptor(out, 5, config.len());
    out.put_slice(config);
    // SLConfigDescriptor: 2 is the value for MP4 files.
    descriptor(out, 6, 1);
    out.put_u8(2);
}

/// A descriptor's tag, and its size as four groups of seven bits.
fn descriptor(out: &mut Vec<u8>, tag: u8, size: usize) {
    out.put_u8(tag);
    for (shift, more) in [(21, 0x80), (14, 0x80), (7, 0x80), (0, 0)] {
        out.put_u8((size >> shift) as u8 & 0x7F | more);
    }
}

fn put_all(out: &mut Vec<u8>, numbers: &[u32]) {
    for &number in numbers {
        out.put_u32(number);
    }
}
