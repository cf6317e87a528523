//! Random numbers from the operating system.

use gostream_proto::rtmp::handshake::RANDOM_BYTES;

/// Random bytes for the handshake. They only have to differ; without a source of randomness, zeros work as well.
pub fn random_filler() -> [u8; RANDOM_BYTES] {
    let mut filler = [0; RANDOM_BYTES];
    fill_random(&mut filler);
    filler
}

/// Fills `bytes` with random bytes; leaves them unchanged if the system has none.
pub fn fill_random(bytes: &mut [u8]) {
    if let Err(error) = getrandom::fill(bytes) {
        tracing::warn!(%error, "The system returned no random bytes.");
    }
}

/// A random number from 0 to 1.
pub fn random_unit() -> f64 {
    let mut bytes = [0; 4];
    fill_random(&mut bytes);
    f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX)
}
