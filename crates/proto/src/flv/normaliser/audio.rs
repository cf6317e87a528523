//! The main audio track.

use bytes::Bytes;

use super::{oddities::Oddities, stamped::Out};
use crate::{
    codec::aac,
    flv::{
        audio::{AudioTag, Legacy},
        tag::Content,
    },
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{AudioCodec, Codec},
};

/// A codec header.
#[derive(Clone, Debug)]
struct Header {
    codec: AudioCodec,
    record: Bytes,
    /// The parsed config, if the codec is AAC and the header can be parsed.
    aac: Option<aac::Config>,
}

impl Header {
    fn new(codec: AudioCodec, record: Bytes) -> Self {
        let aac = if codec == AudioCodec::Aac { aac::Config::parse(&record).ok() } else { None };
        Self { codec, record, aac }
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        match (&self.aac, &other.aac) {
            (Some(own), Some(others)) => own == others,
            _ => self.codec == other.codec && self.record == other.record,
        }
    }

    /// The record for packagers.
    fn packaged(&self) -> Bytes {
        self.aac.and_then(|config| config.simplified()).unwrap_or_else(|| self.record.clone())
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct AudioNormaliser {
    header: Option<Header>,
}

impl AudioNormaliser {
    pub(super) fn normalise(&mut self, tag: AudioTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        match tag.content {
            Content::Header if !tag.payload.is_empty() => {
                self.on_header(Header::new(tag.codec, tag.payload), body, oddities, out);
            }
            Content::Keyframe | Content::Frame if !tag.payload.is_empty() => self.on_frame(tag, body, oddities, out),
            _ => out.push(Packet::opaque(PacketKind::AudioOther, Timestamp::ZERO, body)),
        }
    }

    fn on_header(&mut self, header: Header, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        if self.header.as_ref().is_some_and(|known| known.is_equivalent(&header)) {
            return out.push(Packet::opaque(PacketKind::AudioOther, Timestamp::ZERO, body));
        }
        let payload = header.packaged();
        let unnumbered = aac::Config::parse(&payload).is_ok_and(|config| config.has_unnumbered_channels());
        oddities.unnumbered_channels |= header.codec == AudioCodec::Aac && unnumbered;
        let codec = Codec::Audio(header.codec);
        out.push(Packet { codec, payload, ..Packet::opaque(PacketKind::AudioHeader, Timestamp::ZERO, body) });
        self.header = Some(header);
    }

    fn on_frame(&mut self, tag: AudioTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        if tag.codec == AudioCodec::Aac
            && let Some((config, frames)) = aac::adts_frames(&tag.payload)
        {
            oddities.adts = true;
            return self.on_adts(tag.legacy, config, frames, oddities, out);
        }
        let codec = Codec::Audio(tag.codec);
        out.push(Packet { codec, payload: tag.payload, ..Packet::opaque(PacketKind::Audio, Timestamp::ZERO, body) });
    }

    /// Passes on raw frames, with a header before the first: no platform accepts ADTS in RTMP.
    fn on_adts(
        &mut self,
        legacy: Option<Legacy>,
        config: Bytes,
        frames: Vec<Bytes>,
        oddities: &mut Oddities,
        out: &mut Out<'_>,
    ) {
        let tag = |content, payload| AudioTag { codec: AudioCodec::Aac, content, track: 0, legacy, payload }.encode();
        if self.header.is_none() {
            let body = tag(Content::Header, config.clone());
            self.on_header(Header::new(AudioCodec::Aac, config), body, oddities, out);
        }
        let rate = self.header.as_ref().and_then(|header| header.aac).map_or(0, |config| config.core_rate);
        for (number, payload) in frames.into_iter().enumerate() {
            let samples = number as i64 * i64::from(aac::FRAME_SAMPLES);
            let later = Timestamp::from_ms((samples * 1_000).checked_div(rate.into()).unwrap_or(0));
            let body = tag(Content::Frame, payload.clone());
            let codec = Codec::Audio(AudioCodec::Aac);
            out.push(Packet { codec, payload, ..Packet::opaque(PacketKind::Audio, later, body) });
        }
    }
}
