//! From what encoders send to what readers can rely on: the one place that decides what a message is.
//!
//! ```text
//! message ──► kind       the bitstream says where decoding can start and where a picture begins; flags are a hint
//!         ──► body       as it came, for RTMP outputs; rewritten only where no platform could take it
//!         ──► payload    length-prefixed NAL units, a raw AAC frame, a configuration record, for readers that package
//! ```
//!
//! A header that sets decoders up as the one before it did is no header: readers pass it on and need not act on it. A header
//! that is missing, empty or contradicted by the parameter sets among the pictures is written from those.

mod audio;
mod oddities;
mod stamped;
mod units;
mod video;

use bytes::Bytes;

pub use oddities::Oddities;
pub use stamped::Stamped;

use super::{
    audio::AudioTag,
    tag::{Content, MAIN_TRACK},
    video::VideoTag,
};
use crate::{
    packet::{Packet, PacketKind},
    time::Timestamp,
};
use audio::AudioNormaliser;
use stamped::Out;
use video::VideoNormaliser;

/// A video message that is no longer than the header of a legacy tag holds no picture.
const TAG_BYTES: usize = 5;

/// Turns the messages of one broadcast into packets.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    video: VideoNormaliser,
    audio: AudioNormaliser,
    oddities: Oddities,
}

impl Normaliser {
    /// The packets in a video message that is stamped `wire`, appended to `out`. What cannot be read passes as a frame that nobody
    /// packages: a relay does not need to understand it.
    pub fn video(&mut self, body: Bytes, wire: u32, out: &mut Vec<Stamped>) {
        let mut out = Out { wire, out };
        self.video.pass(&mut out);
        let Ok(tag) = VideoTag::parse(&body) else {
            let kind = if body.len() <= TAG_BYTES { PacketKind::VideoOther } else { PacketKind::InterFrame };
            return out.push(Packet::opaque(kind, Timestamp::ZERO, body));
        };
        if tag.track == MAIN_TRACK {
            return self.video.normalise(tag, body, &mut self.oddities, &mut out);
        }
        let kind = match tag.content {
            Content::Header => PacketKind::SideVideoHeader,
            Content::Keyframe | Content::Frame => PacketKind::SideVideo,
            Content::EndOfSequence | Content::Other => PacketKind::VideoOther,
        };
        out.push(Packet::opaque(kind, Timestamp::ZERO, body));
    }

    /// The packets in an audio message that is stamped `wire`, appended to `out`.
    pub fn audio(&mut self, body: Bytes, wire: u32, out: &mut Vec<Stamped>) {
        let mut out = Out { wire, out };
        let Ok(tag) = AudioTag::parse(&body) else {
            return out.push(Packet::opaque(PacketKind::AudioOther, Timestamp::ZERO, body));
        };
        if tag.track == MAIN_TRACK {
            return self.audio.normalise(tag, body, &mut self.oddities, &mut out);
        }
        let kind = match tag.content {
            Content::Header => PacketKind::SideAudioHeader,
            Content::Keyframe | Content::Frame => PacketKind::SideAudio,
            Content::EndOfSequence | Content::Other => PacketKind::AudioOther,
        };
        out.push(Packet::opaque(kind, Timestamp::ZERO, body));
    }

    /// Whether a picture is held that might go on.
    pub fn holds_picture(&self) -> bool {
        self.video.holds_picture()
    }

    /// Nothing follows for now: gives the picture that might have gone on, and does not continue what else it began.
    pub fn finish(&mut self) -> Option<Stamped> {
        self.video.finish()
    }

    /// What was seen so far.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }
}

#[cfg(test)]
mod tests;
