//! The samples in fragments, read with another crate's MP4 parser.

use mp4_atom::{Any, Decode as _, DecodeAtom as _, Header, Moof, Moov};

#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    pub track: u32,
    pub dts: u64,
    pub duration: u64,
    pub composition: i64,
    pub sync: bool,
    pub payload: Vec<u8>,
    /// The first sample of its track in its fragment.
    pub first: bool,
}

/// The samples of fragments, in file order.
pub fn samples(file: &[u8]) -> Vec<Sample> {
    let mut samples = Vec::new();
    let mut start = 0;
    while start < file.len() {
        let moof = &file[start..];
        let mut rest = moof;
        let Any::Moof(Moof { traf, mfhd }) = Any::decode(&mut rest).expect("is a box") else { panic!("no moof") };
        assert!(mfhd.sequence_number > 0 && traf.len() <= 2);
        let header = Header::decode(&mut rest).expect("is a header");
        assert_eq!(header.kind.to_string(), "mdat");
        let mdat = header.size.expect("has a size");
        let mut covered = 0;
        for traf in &traf {
            assert!(traf.tfhd.default_base_is_moof && traf.tfhd.base_data_offset.is_none());
            let [trun] = traf.trun.as_slice() else { panic!("one run for each track") };
            let mut dts = traf.tfdt.as_ref().expect("has a time").base_media_decode_time;
            let mut offset = trun.data_offset.expect("has an offset") as usize;
            for (index, entry) in trun.samples.iter().enumerate() {
                let (size, duration) = (entry.size.expect("a size") as usize, entry.duration.expect("a duration"));
                samples.push(Sample {
                    track: traf.tfhd.track_id,
                    dts,
                    duration: duration.into(),
                    composition: entry.cts.unwrap_or(0),
                    sync: entry.flags.is_none_or(|flags| flags & 0x1_0000 == 0),
                    payload: moof[offset..offset + size].to_vec(),
                    first: index == 0,
                });
                (dts, offset, covered) = (dts + u64::from(duration), offset + size, covered + size);
            }
        }
        assert_eq!(covered, mdat, "samples fill the mdat");
        start = file.len() - rest.len() + mdat;
    }
    samples
}

/// The `moov` of an init segment.
pub fn moov(init: &[u8]) -> Moov {
    let mut rest = init;
    let Any::Ftyp(_) = Any::decode(&mut rest).expect("is a box") else { panic!("no ftyp") };
    let moov = Moov::decode_atom(&Header::decode(&mut rest).expect("is a header"), &mut rest).expect("is a moov");
    assert!(rest.is_empty());
    moov
}
