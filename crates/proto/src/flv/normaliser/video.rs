//! The main video track.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Oddities, Out, Stamped};
use crate::{
    codec::{
        av1, avc, hevc,
        nal::{self, Filling, Survey},
    },
    flv::{Content, VideoTag},
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{Codec, VideoCodec},
};

/// Lengths are of four bytes unless a header says otherwise.
const LENGTH_BYTES: usize = 4;
/// NAL units that wait for their picture, in bytes: parameter sets and SEI are small.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;
/// A picture that is longer is not joined any further: one of 8K at the highest quality has a few MiB.
const JOINED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// A header that sets decoders up.
#[derive(Clone, Debug)]
struct Header {
    codec: VideoCodec,
    record: Bytes,
    config: Config,
}

/// What a header says, where it can be read.
#[derive(Clone, Debug)]
enum Config {
    Avc(avc::Config),
    Hevc(hevc::Config),
    Other,
}

impl Header {
    fn new(tagged: VideoCodec, record: Bytes) -> Self {
        let (codec, config) = match tagged {
            VideoCodec::Avc if hevc::is_config(&record) => (VideoCodec::Hevc, None),
            VideoCodec::Avc => (tagged, avc::Config::parse(&record).ok().map(Config::Avc)),
            _ => (tagged, None),
        };
        let hevc = || hevc::Config::parse(&record).ok().filter(|_| codec == VideoCodec::Hevc).map(Config::Hevc);
        let config = config.or_else(hevc).unwrap_or(Config::Other);
        Self { codec, record, config }
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        match (&self.config, &other.config) {
            (Config::Avc(own), Config::Avc(others)) => own.is_equivalent(others),
            (Config::Hevc(own), Config::Hevc(others)) => own.is_equivalent(others),
            _ => self.codec == other.codec && self.record == other.record,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct VideoNormaliser {
    /// The newest header that came.
    header: Option<Header>,
    /// The parameter sets that decoders use instead, as they came among the pictures.
    learned: Option<avc::Config>,
    /// Units that wait for their picture.
    preamble: Vec<Bytes>,
    /// What the newest picture was stamped with: its other slices have the same stamp.
    picture: Option<u32>,
    /// The encoder splits its pictures: the newest one, until another message shows that it is whole.
    held: Option<Held>,
}

/// The beginning of a picture, and the slices that came in messages of their own.
#[derive(Clone, Debug)]
struct Held {
    picture: Stamped,
    slices: BytesMut,
}

impl Held {
    fn whole(self) -> Stamped {
        let Self { mut picture, slices } = self;
        if !slices.is_empty() {
            picture.packet.extend(&slices);
        }
        picture
    }
}

impl VideoNormaliser {
    pub(super) fn restart(&mut self) {
        self.preamble.clear();
        (self.picture, self.held) = (None, None);
    }

    pub(super) fn normalise(&mut self, tag: VideoTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        let is_picture = matches!(tag.content, Content::Keyframe | Content::Frame);
        if !is_picture {
            self.release(out);
        }
        match (tag.content, tag.codec) {
            (_, _) if tag.payload.is_empty() => out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body)),
            (Content::Header, _) => self.on_header(&tag, body, oddities, out),
            (_, VideoCodec::Avc | VideoCodec::Hevc) if is_picture => {
                self.on_nal_units(&tag, body, oddities, out);
            }
            (_, VideoCodec::Av1) if is_picture => {
                let flagged = tag.content == Content::Keyframe;
                let key = av1::is_key(&tag.payload).unwrap_or(flagged);
                oddities.wrong_flags |= key != flagged;
                out.push(picture(&tag, body, key, tag.payload.clone()));
            }
            _ if is_picture => out.push(picture(&tag, body, tag.content == Content::Keyframe, tag.payload.clone())),
            _ => out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body)),
        }
    }

    fn on_header(&mut self, tag: &VideoTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        let mut header = Header::new(tag.codec, tag.payload.clone());
        let mut body = body;
        if let Some((record, config)) = record_of_byte_stream(&header) {
            oddities.start_codes = true;
            body = with_payload(&body, tag, &record);
            header = Header { record, config: Config::Avc(config), ..header };
        }
        if self.header.as_ref().is_some_and(|known| known.is_equivalent(&header)) {
            return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body));
        }
        out.push(header_packet(header.codec, header.record.clone(), body));
        self.header = Some(header);
        self.learned = None;
    }

    fn on_nal_units(&mut self, tag: &VideoTag, mut body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        let codec = self.header.as_ref().map_or(tag.codec, |header| header.codec);
        let length_bytes = self.length_bytes();
        let flagged = tag.content == Content::Keyframe;
        let mut payload = tag.payload.clone();
        let mut filling = nal::filling(&payload, length_bytes);
        if filling == Filling::Broken && nal::has_start_code(&payload) {
            oddities.start_codes = true;
            payload = nal::length_prefixed(nal::split_start_codes(&payload), length_bytes);
            body = with_payload(&body, tag, &payload);
            filling = Filling::Whole;
        }
        if filling == Filling::Broken {
            // Nothing that we understand: the flags are all there is to go by.
            self.release(out);
            return out.push(picture(tag, body, flagged, payload));
        }
        let mut survey = nal::survey(codec, nal::units(&payload, length_bytes));
        if !survey.has_slice {
            // Some encoders glue units together with start codes behind one length.
            let glued = nal::units(&payload, length_bytes).flat_map(nal::split_start_codes);
            let split = nal::length_prefixed(glued, length_bytes);
            let of_split = nal::survey(codec, nal::units(&split, length_bytes));
            if of_split.has_slice {
                oddities.start_codes = true;
                (payload, survey) = (split, of_split);
            }
        }
        if filling == Filling::WithEmpty {
            oddities.empty_units = true;
            payload = nal::length_prefixed(nal::units(&payload, length_bytes), length_bytes);
            body = with_payload(&body, tag, &payload);
        }
        if payload.is_empty() {
            return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body));
        }
        let wire = out.wire;
        let continues = survey.has_slice && !survey.begins_picture && self.picture == Some(wire);
        if continues
            && let Some(held) = &mut self.held
            && held.picture.packet.payload.len() + held.slices.len() + payload.len() <= JOINED_BYTES_MAX
        {
            return held.slices.put_slice(&payload);
        }
        self.release(out);
        if !survey.has_slice {
            return self.on_preamble(payload, length_bytes, body, oddities, out);
        }
        if continues {
            oddities.split_pictures = true;
            let codec = Codec::Video(tag.codec);
            return out.push(Packet { codec, payload, ..Packet::opaque(PacketKind::Slices, Timestamp::ZERO, body) });
        }
        self.picture = Some(wire);
        if !self.preamble.is_empty() {
            let units = self.preamble.iter().map(Bytes::as_ref).chain(nal::units(&payload, length_bytes));
            payload = nal::length_prefixed(units, length_bytes);
            body = with_payload(&body, tag, &payload);
            self.preamble.clear();
            survey = nal::survey(codec, nal::units(&payload, length_bytes));
        }
        let key = is_key(survey, flagged);
        oddities.wrong_flags |= key != flagged;
        if key && codec == VideoCodec::Avc {
            self.learn(tag, &payload, length_bytes, oddities, out);
        }
        let packet = picture(tag, body, key, payload);
        if oddities.split_pictures {
            self.held = Some(Held { picture: Stamped { packet, wire }, slices: BytesMut::new() });
        } else {
            out.push(packet);
        }
    }

    /// The picture that was held is whole.
    fn release(&mut self, out: &mut Out<'_>) {
        out.out.extend(self.held.take().map(Held::whole));
    }

    /// Units ahead of their picture go out with it.
    fn on_preamble(
        &mut self,
        payload: Bytes,
        length_bytes: usize,
        body: Bytes,
        oddities: &mut Oddities,
        out: &mut Out<'_>,
    ) {
        let waiting: usize = self.preamble.iter().map(Bytes::len).sum();
        if waiting + payload.len() > PREAMBLE_BYTES_MAX {
            return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body));
        }
        oddities.split_pictures = true;
        // Copied: a slice would keep the whole block in which its message came.
        self.preamble.extend(nal::units(&payload, length_bytes).map(Bytes::copy_from_slice));
    }

    /// Takes the parameter sets before a keyframe for what decoders use, where the header says nothing or something else.
    fn learn(
        &mut self,
        tag: &VideoTag,
        payload: &Bytes,
        length_bytes: usize,
        oddities: &mut Oddities,
        out: &mut Out<'_>,
    ) {
        let of_kind = |wanted| {
            let units = nal::units(payload, length_bytes).filter(move |unit| avc::nal::kind(unit) == wanted);
            // A record holds no more.
            units.take(0x1F).map(|unit| Bytes::copy_from_slice(avc::trimmed(unit))).collect::<Vec<_>>()
        };
        let sps = of_kind(avc::nal::SPS);
        if sps.is_empty() {
            return;
        }
        let header = match self.header.as_ref().map(|header| &header.config) {
            Some(Config::Avc(config)) => Some(config),
            Some(_) => return,
            None => None,
        };
        let known = self.learned.as_ref().or(header);
        let is_known = |set: &Bytes| known.is_some_and(|known| known.sps.iter().any(|sps| avc::trimmed(sps) == set));
        if known.is_some_and(avc::Config::is_complete) && sps.iter().all(is_known) {
            return;
        }
        let pps = of_kind(avc::nal::PPS);
        if pps.is_empty() || length_bytes != LENGTH_BYTES {
            return;
        }
        let Some(record) = avc::Config::record(&sps, &pps) else { return };
        let Ok(config) = avc::Config::parse(&record) else { return };
        let is_complete = header.is_some_and(avc::Config::is_complete);
        oddities.contradicted_header |= is_complete;
        oddities.missing_header |= !is_complete;
        // Where the encoder's own header serves, RTMP outputs get that alone.
        let body = if is_complete {
            Bytes::new()
        } else {
            VideoTag { content: Content::Header, cts_ms: 0, payload: record.clone(), ..tag.clone() }.encode()
        };
        out.push(header_packet(VideoCodec::Avc, record, body));
        self.learned = Some(config);
    }

    fn length_bytes(&self) -> usize {
        match self.header.as_ref().map(|header| &header.config) {
            Some(Config::Avc(config)) => config.length_bytes,
            Some(Config::Hevc(config)) => config.length_bytes,
            _ => LENGTH_BYTES,
        }
    }
}

/// Whether decoding can start at a picture. An encoder that marks intra pictures without saying in the bitstream that
/// decoding can start there is believed.
fn is_key(survey: Survey, flagged: bool) -> bool {
    survey.random_access || flagged && survey.intra
}

fn picture(tag: &VideoTag, body: Bytes, key: bool, payload: Bytes) -> Packet {
    let kind = if key { PacketKind::Keyframe } else { PacketKind::InterFrame };
    let codec = Codec::Video(tag.codec);
    Packet { codec, cts_ms: tag.cts_ms, payload, ..Packet::opaque(kind, Timestamp::ZERO, body) }
}

fn header_packet(codec: VideoCodec, payload: Bytes, body: Bytes) -> Packet {
    let codec = Codec::Video(codec);
    Packet { codec, payload, ..Packet::opaque(PacketKind::VideoHeader, Timestamp::ZERO, body) }
}

/// The tag with another payload.
fn with_payload(body: &Bytes, tag: &VideoTag, payload: &Bytes) -> Bytes {
    let before = body.len() - tag.payload.len();
    let mut out = BytesMut::with_capacity(before + payload.len());
    out.put_slice(body.get(..before).unwrap_or_default());
    out.put_slice(payload);
    out.freeze()
}

/// A record for a header that holds the parameter sets of H.264 with start codes.
fn record_of_byte_stream(header: &Header) -> Option<(Bytes, avc::Config)> {
    if header.codec != VideoCodec::Avc || !nal::has_start_code(&header.record) {
        return None;
    }
    let of_kind = |wanted| -> Vec<Bytes> {
        let units = nal::split_start_codes(&header.record).filter(|unit| avc::nal::kind(unit) == wanted);
        units.map(Bytes::copy_from_slice).collect()
    };
    let record = avc::Config::record(&of_kind(avc::nal::SPS), &of_kind(avc::nal::PPS))?;
    let config = avc::Config::parse(&record).ok()?;
    Some((record, config))
}
