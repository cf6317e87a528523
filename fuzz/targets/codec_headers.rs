//! Codec headers of every kind, and frame classification: parsed or refused, and every accessor works on what was
//! parsed.
#![no_main]

use bytes::Bytes;
use gostream_proto::{
    codec::{
        aac, av1, avc, hevc, mp3,
        nal::{self, Framing},
    },
    track::VideoCodec,
};
use libfuzzer_sys::fuzz_target;

/// The longest silent frame, in bytes: seven channels take about forty.
const SILENCE_BYTES_MAX: usize = 64;

fn ask_avc(record: &Bytes) {
    let Ok(config) = avc::Config::parse(record) else { return };
    let _ = (config.picture(), config.codec_string());
    assert!(config.is_equivalent(&config));
    // A record built from the same parameter sets has the same properties.
    if let Some(again) = avc::Config::record(&config.sps, &config.pps) {
        let again = avc::Config::parse(&again).expect("what was written is read");
        assert_eq!(again.sps, config.sps);
        assert_eq!(again.pps, config.pps[..config.pps.len().min(31)]);
        assert!(again.length_bytes == 4 && (config.is_complete() || !again.is_complete()));
    }
}

fn ask_aac(record: &[u8]) {
    let Ok(config) = aac::Config::parse(record) else { return };
    let _ = (config.output_rate(), config.codec_string(), config.frame_samples());
    assert!(config.adts_header(1 << 13).is_none(), "the length has 13 bits");
    assert_eq!(config.fits_adts(), config.adts_header(record.len()).is_some());
    // Channels described in the bitstream have a number, or an element that goes before a frame.
    let element = config.channel_element();
    assert!(element.is_empty() || config.has_unnumbered_channels());
    if let Some(simplified) = config.simplified() {
        let simple = aac::Config::parse(&simplified).expect("what was written is read");
        assert!(config.has_unnumbered_channels() && !simple.has_unnumbered_channels());
        assert_eq!((simple.channels, simple.core_rate), (config.channels, config.core_rate));
        assert_eq!((simple.frame_samples(), simple.simplified()), (config.frame_samples(), None));
    }
    let Some(silence) = config.silence() else { return };
    assert!(!silence.is_empty() && silence.len() <= SILENCE_BYTES_MAX && !config.has_unnumbered_channels());
    assert!(aac::adts_frames(&silence).is_none(), "a raw frame does not look like ADTS");
    // A rate without an index has no ADTS header.
    let Some(header) = config.adts_header(silence.len()) else { return };
    let framed = Bytes::from([&header, silence.as_ref()].concat());
    let (described, frames) = aac::adts_frames(&framed).expect("what was written is read");
    assert_eq!(frames, [silence]);
    let described = aac::Config::parse(&described).expect("what was written is read");
    assert_eq!((described.core_rate, described.has_unnumbered_channels()), (config.core_rate, false));
}

fn ask_adts(bytes: &Bytes) {
    let Some((config, frames)) = aac::adts_frames(bytes) else { return };
    let payload: usize = frames.iter().map(Bytes::len).sum();
    assert!(!frames.is_empty() && frames.iter().all(|frame| !frame.is_empty()));
    assert!(payload + frames.len() * aac::ADTS_BYTES <= bytes.len());
    if let Ok(config) = aac::Config::parse(&config) {
        assert!(config.has_unnumbered_channels() || config.fits_adts());
    }
}

fn ask_units(bytes: &[u8]) {
    for length_bytes in [1, 2, 3, 4] {
        let units: usize = nal::units(bytes, length_bytes).map(|unit| unit.len() + length_bytes).sum();
        assert!(units <= bytes.len());
        assert_eq!(nal::framing(bytes, length_bytes) == Framing::Complete, units == bytes.len());
        let again = nal::length_prefixed(nal::units(bytes, length_bytes), length_bytes);
        assert_eq!((nal::framing(&again, length_bytes), again.len()), (Framing::Complete, units));
    }
    let split = nal::length_prefixed(nal::split_start_codes(bytes), 4);
    assert_eq!(nal::framing(&split, 4), Framing::Complete);
    for codec in [VideoCodec::Avc, VideoCodec::Hevc, VideoCodec::Av1] {
        let summary = nal::summarize(codec, nal::units(&split, 4));
        assert!(summary.has_slice || !summary.begins_picture && !summary.intra);
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let record = Bytes::copy_from_slice(data);
    match kind % 10 {
        0 => ask_avc(&record),
        1 => {
            if let Ok(config) = hevc::Config::parse(&record) {
                let _ = (config.picture(), config.codec_string(), hevc::is_config(&record));
                assert!(config.is_equivalent(&config));
            }
        }
        2 => {
            if let Ok(config) = av1::Config::parse(&record) {
                let _ = (config.picture(), config.codec_string());
            }
        }
        3 => ask_aac(data),
        4 => {
            let _ = (avc::picture(data), hevc::picture(data));
        }
        6 => ask_adts(&record),
        7 => {
            let frame = [&[0xFF], data].concat();
            if let Some(header) = mp3::Header::parse(&frame) {
                assert!((8_000..=48_000).contains(&header.rate) && matches!(header.channels, 1 | 2));
                assert!(matches!(header.samples, 576 | 1_152));
            }
        }
        8 => {
            // Bytes after the first frame header do not matter.
            let key = av1::is_key(data);
            let longer = [data, &[0x12, 0]].concat();
            assert!(key.is_none() || av1::is_key(&longer) == key);
        }
        // 5 for AVC, 9 for byte streams.
        _ => ask_units(data),
    }
});
