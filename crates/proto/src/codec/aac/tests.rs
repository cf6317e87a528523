use proptest::prelude::*;

use super::*;

#[test]
fn configs_of_real_encoders_are_parsed() {
    for (bytes, object_type, rate, channels) in [
        (&[0x11, 0x90][..], 2, 48_000, 2),
        (&[0x12, 0x08], 2, 44_100, 1),
        // FFmpeg, with its extension bytes.
        (&[0x11, 0x90, 0x56, 0xE5, 0x00], 2, 48_000, 2),
        // HE-AAC: 24 kHz core, 48 kHz output.
        (&[0x2B, 0x11, 0x88, 0x00], 5, 48_000, 2),
    ] {
        let config = Config::parse(bytes).expect("parses");
        assert_eq!((config.object_type, config.output_rate(), config.channels), (object_type, rate, channels));
    }
}

#[test]
fn frame_length_follows_the_header() {
    for (bytes, samples) in [
        (&[0x11, 0x90][..], Some(1_024)),
        (&[0x11], None),
        (&[0x11, 0x94], Some(960)),
        (&[0x2B, 0x11, 0x88, 0x00], Some(2_048)),
        // HE-AAC with 960-sample frames, then one whose output rate equals the core rate.
        (&[0x2B, 0x11, 0x8A, 0x00], Some(1_920)),
        (&[0x29, 0x91, 0x88, 0x00], Some(1_024)),
        // Low delay.
        (&[0xB9, 0x90, 0x00], None),
    ] {
        assert_eq!(Config::parse(bytes).ok().and_then(|config| config.frame_samples()), samples, "{bytes:02x?}");
    }
}

#[test]
fn adts_header_has_length_rate_and_channels() {
    let config = Config::parse(&[0x11, 0x90]).expect("parses");
    assert_eq!(config.adts_header(0x123), Some([0xFF, 0xF1, 0x4C, 0x80, 0x25, 0x5F, 0xFC]));
    assert_eq!(config.adts_header(9_000), None);
    // xHE-AAC (object type 42), and a rate without an index.
    for unfit in [&[0xF9, 0x46, 0x40][..], &[0x17, 0x80, 0x5D, 0xC0, 0x90]] {
        assert!(!Config::parse(unfit).expect("parses").fits_adts(), "{unfit:02x?}");
    }
}

#[test]
fn program_config_element_becomes_a_channel_configuration_if_one_matches() {
    // FFmpeg's config of 5.1(side): front CPE and SCE, side CPE, and the LFE as another SCE.
    let config = Config::parse(&[
        0x11, 0x80, 0x04, 0xC8, 0x44, 0x00, 0x20, 0x00, 0xC4, 0x0D, 0x4C, 0x61, 0x76, 0x63, 0x35, 0x39, 0x2E, 0x33,
        0x37, 0x2E, 0x31, 0x30, 0x30, 0x56, 0xE5, 0x00,
    ])
    .expect("parses");
    assert_eq!((config.channels, config.has_unnumbered_channels(), config.fits_adts()), (6, true, true));
    assert_eq!((config.simplified(), config.channel_element().len()), (None, 9));
    // The elements of configuration 6, in its order: front SCE and CPE, back CPE, LFE.
    let config = Config::parse(&[0x11, 0x80, 0x04, 0xC8, 0x05, 0x00, 0x01, 0x08, 0x00, 0x00]).expect("parses");
    let simplified = config.simplified().expect("is configuration 6");
    let numbered = Config::parse(&simplified).expect("parses");
    assert_eq!((numbered.channels, numbered.output_rate(), numbered.channel_element()), (6, 48_000, &[][..]));
    assert_eq!(Config::parse(&[0x11, 0x90]).expect("parses").simplified(), None);
}

#[test]
fn adts_frames_are_split() {
    let config = Config::parse(&[0x11, 0x90]).expect("parses");
    let framed = |frame: &[u8]| [&config.adts_header(frame.len()).expect("fits")[..], frame].concat();
    let both = Bytes::from([framed(&[0x21, 1, 2]), framed(&[0x21, 3])].concat());
    let (described, frames) = adts_frames(&both).expect("is ADTS");
    assert_eq!((described.as_ref(), frames.len()), (&[0x11, 0x90][..], 2));
    assert_eq!((frames[0].as_ref(), frames[1].as_ref()), (&[0x21, 1, 2][..], &[0x21, 3][..]));
    for other in [&both[..both.len() - 1], &[0x21, 0x10], &[0xFF, 0xF1], &[]] {
        assert_eq!(adts_frames(&Bytes::copy_from_slice(other)), None);
    }
}

#[test]
fn too_many_adts_frames_in_one_message_are_refused() {
    let frame = [&Config::parse(&[0x11, 0x90]).expect("parses").adts_header(1).expect("fits")[..], &[0]].concat();
    assert_eq!(adts_frames(&frame.repeat(40).into()).map(|(_, frames)| frames.len()), Some(40));
    assert_eq!(adts_frames(&frame.repeat(1_000_000).into()), None);
}

proptest! {
    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..12)) {
        if let Ok(config) = Config::parse(&bytes) {
            let _ = (config.adts_header(100), config.frame_samples(), config.simplified());
        }
        let _ = adts_frames(&bytes.into());
    }
}
