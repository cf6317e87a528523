//! FLV files: tags are returned up to the first truncated one, and are no larger than the file.
#![no_main]

use bytes::Bytes;
use gostream_proto::flv::file::tags;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(tags) = tags(Bytes::copy_from_slice(data)) else { return };
    let read: usize = tags.map_while(Result::ok).map(|tag| tag.body.len()).sum();
    assert!(read <= data.len());
});
