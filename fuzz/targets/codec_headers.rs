//! Codec headers of every kind: read or refused, and what was read can be asked everything.
#![no_main]

use bytes::Bytes;
use gostream_proto::codec::{aac, av1, avc, hevc, mp3, nal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((&kind, data)) = data.split_first() else { return };
    let record = Bytes::copy_from_slice(data);
    match kind % 6 {
        0 => {
            if let Ok(config) = avc::Config::parse(&record) {
                let _ = (config.picture(), config.codec_string());
            }
        }
        1 => {
            if let Ok(config) = hevc::Config::parse(&record) {
                let _ = (config.picture(), config.codec_string(), hevc::is_config(&record));
            }
        }
        2 => {
            if let Ok(config) = av1::Config::parse(&record) {
                let _ = (config.picture(), config.codec_string());
            }
        }
        3 => {
            if let Ok(config) = aac::Config::parse(data) {
                let _ = (config.output_rate(), config.codec_string());
                assert!(config.adts_header(1 << 13).is_none(), "the length has 13 bits");
                let _ = config.adts_header(data.len());
            }
        }
        4 => {
            let _ = (avc::picture(data), hevc::picture(data));
        }
        _ => {
            for length_bytes in [1, 2, 4] {
                let units: usize = nal::units(data, length_bytes).map(|unit| unit.len() + length_bytes).sum();
                assert!(units <= data.len());
            }
        }
    }
});
