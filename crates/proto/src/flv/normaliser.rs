//! Turns the messages of an encoder into packets that readers can rely on. This is the only place that decides what a
//! message is.
//!
//! ```text
//! message ──► kind       from the bitstream: where decoding can start and where a picture begins; flags are only a hint
//!         ──► body       unchanged, for RTMP outputs; rewritten only if no platform would accept it
//!         ──► payload    length-prefixed NAL units, a raw AAC frame or a configuration record, for packagers
//! ```
//!
//! A header that initialises decoders in the same way as the previous one is not treated as a header: readers pass it
//! on and need not act on it. If a header is missing, empty, or contradicted by in-band parameter sets, one is built
//! from the parameter sets.

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
    track::TrackId,
};
use audio::AudioNormaliser;
use stamped::Out;
use video::VideoNormaliser;

/// Bytes of a legacy video tag header. A shorter or equal message contains no picture.
const TAG_BYTES: usize = 5;

/// Turns the messages of one broadcast into packets.
#[derive(Clone, Debug, Default)]
pub struct Normaliser {
    video: VideoNormaliser,
    audio: AudioNormaliser,
    oddities: Oddities,
}

impl Normaliser {
    /// Appends the packets of a video message to `out`. `wire` is the message timestamp. A message that cannot be
    /// parsed becomes a frame that packagers ignore: a relay need not understand it.
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
        let track = TrackId::video(tag.track);
        out.push(Packet { track, ..Packet::opaque(kind, Timestamp::ZERO, body) });
    }

    /// Appends the packets of an audio message to `out`. `wire` is the message timestamp.
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
        let track = TrackId::audio(tag.track);
        out.push(Packet { track, ..Packet::opaque(kind, Timestamp::ZERO, body) });
    }

    /// Whether a picture is held back because more slices may follow.
    pub fn holds_picture(&self) -> bool {
        self.video.holds_picture()
    }

    /// Flushes at a pause: returns the picture that is held back, and discards other unfinished state.
    pub fn finish(&mut self) -> Option<Stamped> {
        self.video.finish()
    }

    /// The anomalies seen so far.
    pub fn oddities(&self) -> Oddities {
        self.oddities
    }
}

#[cfg(test)]
mod tests;
