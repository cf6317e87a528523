//! Decode times for streams that have none: some encoders with B-frames send presentation times in their tags, and no
//! composition times.

use std::collections::VecDeque;

use crate::{packet::Packet, time::REORDER_MS};

/// Number of pictures from which the frame interval is determined.
const REMEMBERED: usize = 8;

/// Assigns decode times to the pictures of a stream.
#[derive(Debug, Default)]
pub(super) struct Reorder {
    /// How much earlier than its presentation a picture is decoded, in ms; 0 until picture times were seen to go back.
    delay_ms: i64,
    newest_ms: Option<i64>,
    decoded_ms: Option<i64>,
    recent: VecDeque<i64>,
}

impl Reorder {
    /// Determines the picture order from the first pictures.
    pub(super) fn look_at<'a>(&mut self, packets: impl Iterator<Item = &'a Packet>) {
        for packet in packets.filter(|packet| packet.kind.is_picture()) {
            self.remember(packet);
        }
        self.newest_ms = None;
    }

    /// The picture with a decode time that is not before the previous picture's and not after its own presentation.
    pub(super) fn order(&mut self, packet: &Packet) -> Packet {
        self.remember(packet);
        let shown_ms = packet.dts.as_ms();
        if self.delay_ms == 0 {
            return packet.clone();
        }
        let earliest_ms = shown_ms - 2 * self.delay_ms;
        let next_ms = self.decoded_ms.map_or(shown_ms - self.delay_ms, |before| before + self.step_ms());
        let decoded_ms = next_ms.max(earliest_ms).min(shown_ms);
        self.decoded_ms = self.decoded_ms.max(Some(decoded_ms));
        let dts = packet.dts - (shown_ms - decoded_ms);
        Packet { dts, cts_ms: packet.cts_ms + (shown_ms - decoded_ms) as i32, ..packet.clone() }
    }

    fn remember(&mut self, packet: &Packet) {
        let ms = packet.dts.as_ms();
        // With a composition time, the tag's time is a decode time.
        if packet.cts_ms == 0 {
            let back_ms = self.newest_ms.map_or(0, |newest| newest - ms);
            self.delay_ms = self.delay_ms.max(back_ms.min(REORDER_MS));
        }
        self.newest_ms = self.newest_ms.max(Some(ms));
        self.recent.push_back(ms);
        if self.recent.len() > REMEMBERED {
            self.recent.pop_front();
        }
    }

    /// The frame interval, in ms.
    fn step_ms(&self) -> i64 {
        let mut times: Vec<_> = self.recent.iter().copied().collect();
        times.sort_unstable();
        let steps = times.windows(2).map(|pair| pair[1] - pair[0]).filter(|step| *step > 0);
        steps.min().unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{flv::video_packet, time::Timestamp};

    fn pictures(times: &[i64]) -> Vec<Packet> {
        let body = Bytes::from_static(&[0x27, 1, 0, 0, 0, 0, 0, 0, 1, 0x41]);
        times.iter().map(|&ms| video_packet(Timestamp::from_ms(ms), body.clone())).collect()
    }

    /// Decode and presentation time of each picture.
    fn order(times: &[i64]) -> Vec<(i64, i64)> {
        let pictures = pictures(times);
        let mut reorder = Reorder::default();
        reorder.look_at(pictures.iter().take(6));
        let ordered = pictures.iter().map(|picture| reorder.order(picture));
        ordered
            .map(|picture| (picture.dts.as_ms(), picture.dts.as_ms() + i64::from(picture.cts_ms)))
            .collect()
    }

    #[test]
    fn presentation_times_get_decode_times_before_them() {
        let times: Vec<_> = (0..100).flat_map(|n| [0, 3, 1, 2].map(|place| (4 * n + place) * 40)).collect();
        let ordered = order(&times);
        assert!(ordered.windows(2).all(|pair| pair[0].0 < pair[1].0), "{ordered:?}");
        assert!(ordered.iter().zip(&times).all(|((decoded, shown), sent)| decoded <= shown && shown == sent));
        assert_eq!(ordered[..5], [(-80, 0), (-40, 120), (0, 40), (40, 80), (80, 160)]);
    }

    #[test]
    fn times_in_order_are_unchanged() {
        let times: Vec<_> = (0..50).map(|n| n * 40).collect();
        assert!(order(&times).iter().zip(&times).all(|((decoded, shown), sent)| decoded == sent && shown == sent));
    }
}
