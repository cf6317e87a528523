//! Program association and program map tables (ISO 13818-1 section 2.4.4).

use super::track::{Audio, Tracks};

/// The same PIDs as nginx-rtmp.
pub(super) const PAT_PID: u16 = 0;
pub(super) const PMT_PID: u16 = 0x1001;
pub(super) const VIDEO_PID: u16 = 0x100;
pub(super) const AUDIO_PID: u16 = 0x101;

const PROGRAM: u8 = 1;
const STREAM_TYPE_H264: u8 = 0x1B;
const STREAM_TYPE_AAC: u8 = 0x0F;
const STREAM_TYPE_MP3: u8 = 0x03;

/// The association table, with one program.
pub(super) fn association() -> Vec<u8> {
    let [high, low] = PMT_PID.to_be_bytes();
    section(0, &[0, PROGRAM, 0xE0 | high, low])
}

/// The map table, with the tracks that exist.
pub(super) fn map(tracks: &Tracks) -> Vec<u8> {
    let clock = if tracks.video.is_some() { VIDEO_PID } else { AUDIO_PID };
    let [high, low] = clock.to_be_bytes();
    let mut body = vec![0xE0 | high, low, 0xF0, 0];
    let mut track = |kind: u8, pid: u16| {
        let [high, low] = pid.to_be_bytes();
        body.extend([kind, 0xE0 | high, low, 0xF0, 0]);
    };
    if tracks.video.is_some() {
        track(STREAM_TYPE_H264, VIDEO_PID);
    }
    match tracks.audio {
        Some(Audio::Aac(_)) => track(STREAM_TYPE_AAC, AUDIO_PID),
        Some(Audio::Mp3) => track(STREAM_TYPE_MP3, AUDIO_PID),
        None => {}
    }
    section(2, &body)
}

/// A section with pointer, header and checksum. Table id extension 1, version 0, current, the only section.
fn section(table: u8, body: &[u8]) -> Vec<u8> {
    const AFTER_LENGTH: usize = 5;
    const CRC: usize = 4;
    let length = (AFTER_LENGTH + body.len() + CRC) as u8;
    let mut section = vec![0, table, 0xB0, length, 0, PROGRAM, 0xC1, 0, 0];
    section.extend_from_slice(body);
    let checksum = crc(section.get(1..).unwrap_or_default());
    section.extend(checksum.to_be_bytes());
    section
}

/// CRC-32/MPEG-2 (ISO 13818-1 annex A).
fn crc(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0x04C1_1DB7;
    bytes.iter().fold(u32::MAX, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte) << 24, |crc, _| if crc >> 31 == 1 { crc << 1 ^ POLYNOMIAL } else { crc << 1 })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_is_the_standard_one() {
        assert_eq!(crc(b"123456789"), 0x0376_E6E7);
    }
}
