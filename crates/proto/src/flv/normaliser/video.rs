//! The main video track.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::{
    oddities::Oddities,
    stamped::{Out, Stamped},
    units::{Layout, Repaired, with_payload},
};
use crate::{
    codec::{
        av1, avc, hevc,
        nal::{self, NalSummary},
    },
    flv::{tag::Content, video::VideoTag},
    limits::MESSAGE_BYTES_MAX,
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::{Codec, VideoCodec},
};

/// Bytes of a length prefix unless a header says otherwise.
const LENGTH_BYTES: usize = 4;
/// Bound on the NAL units that precede a picture, in bytes: parameter sets and SEI are small.
const PREAMBLE_BYTES_MAX: usize = 64 * 1024;

/// A codec header.
#[derive(Clone, Debug)]
struct Header {
    /// The codec in its tag, which its pictures share.
    tagged: VideoCodec,
    codec: VideoCodec,
    record: Bytes,
    config: ParsedHeader,
}

/// The parsed record, if it can be parsed.
#[derive(Clone, Debug)]
enum ParsedHeader {
    Avc(avc::Config),
    Hevc(hevc::Config),
    Other,
}

impl Header {
    fn new(tagged: VideoCodec, record: Bytes) -> Self {
        let (codec, config) = match tagged {
            VideoCodec::Avc if hevc::is_config(&record) => (VideoCodec::Hevc, None),
            VideoCodec::Avc => (tagged, avc::Config::parse(&record).ok().map(ParsedHeader::Avc)),
            _ => (tagged, None),
        };
        let hevc = || hevc::Config::parse(&record).ok().filter(|_| codec == VideoCodec::Hevc).map(ParsedHeader::Hevc);
        let config = config.or_else(hevc).unwrap_or(ParsedHeader::Other);
        Self { tagged, codec, record, config }
    }

    fn is_equivalent(&self, other: &Self) -> bool {
        match (&self.config, &other.config) {
            (ParsedHeader::Avc(own), ParsedHeader::Avc(others)) => own.is_equivalent(others),
            (ParsedHeader::Hevc(own), ParsedHeader::Hevc(others)) => own.is_equivalent(others),
            _ => self.codec == other.codec && self.record == other.record,
        }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct VideoNormaliser {
    /// The newest header received.
    header: Option<Header>,
    /// In-band parameter sets that decoders use instead of the header.
    learned: Option<avc::Config>,
    /// Units that precede the next picture.
    preamble: Vec<Bytes>,
    /// The newest picture.
    picture: Option<OpenPicture>,
    /// Set for encoders that split pictures: the newest picture, until another message shows that it is complete.
    held: Option<Held>,
}

/// A picture that may get more slices.
#[derive(Clone, Copy, Debug)]
struct OpenPicture {
    /// The timestamp of its message; its other slices have the same one.
    wire: u32,
    /// Memory of all its slices, in bytes.
    bytes: usize,
}

/// A picture and the slices received after its first message.
#[derive(Clone, Debug)]
struct Held {
    begin: Stamped,
    slices: BytesMut,
}

impl Held {
    fn whole(self) -> Stamped {
        let Self { mut begin, slices } = self;
        if !slices.is_empty() {
            begin.packet.extend(&slices);
        }
        begin
    }
}

impl VideoNormaliser {
    pub(super) fn holds_picture(&self) -> bool {
        self.held.is_some()
    }

    pub(super) fn finish(&mut self) -> Option<Stamped> {
        self.preamble.clear();
        self.picture = None;
        self.held.take().map(Held::whole)
    }

    /// Called for each message: a different timestamp shows that the newest picture is complete.
    pub(super) fn pass(&mut self, out: &mut Out<'_>) {
        if self.held.as_ref().is_some_and(|held| held.begin.wire != out.wire) {
            self.release(out);
        }
    }

    pub(super) fn normalise(&mut self, tag: VideoTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        if tag.payload.is_empty() && tag.content != Content::EndOfSequence {
            return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body));
        }
        let flagged = tag.content == Content::Keyframe;
        match (tag.content, tag.codec) {
            (Content::Keyframe | Content::Frame, VideoCodec::Avc | VideoCodec::Hevc) => {
                return self.on_nal_units(&tag, body, oddities, out);
            }
            // May come between the slices of a picture.
            (Content::Other, _) => return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body)),
            _ => self.release(out),
        }
        match (tag.content, tag.codec) {
            (Content::Header, _) => self.on_header(&tag, body, oddities, out),
            (Content::Keyframe | Content::Frame, codec) => {
                let shown = if codec == VideoCodec::Av1 { av1::is_key(&tag.payload) } else { None };
                let key = shown.unwrap_or(flagged);
                oddities.wrong_flags |= key != flagged;
                out.push(picture(&tag, body, key, tag.payload.clone()));
            }
            _ => out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body)),
        }
    }

    fn on_header(&mut self, tag: &VideoTag, body: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        let mut header = Header::new(tag.codec, tag.payload.clone());
        let mut body = body;
        if let Some((record, config)) = record_of_byte_stream(&header) {
            oddities.start_codes = true;
            body = with_payload(&body, tag, &record);
            header = Header { record, config: ParsedHeader::Avc(config), ..header };
        }
        if self.header.as_ref().is_some_and(|known| known.is_equivalent(&header)) {
            return out.push(Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, body));
        }
        out.push(header_packet(header.codec, header.record.clone(), body));
        self.header = Some(header);
        self.learned = None;
    }

    fn on_nal_units(&mut self, tag: &VideoTag, message: Bytes, oddities: &mut Oddities, out: &mut Out<'_>) {
        let layout = self.layout(tag);
        let flagged = tag.content == Content::Keyframe;
        let Some(mut repaired) = layout.repair(tag, &message, oddities) else {
            // Not in a known format: only the flags are available.
            self.release(out);
            return out.push(picture(tag, message, flagged, tag.payload.clone()));
        };
        if repaired.payload.is_empty() {
            return out.push(repaired.marker());
        }
        let (wire, summary) = (out.wire, repaired.summary);
        let is_newest = self.picture.is_some_and(|picture| picture.wire == wire);
        if is_newest && summary.has_slice && !summary.begins_picture {
            return self.on_slices(tag.codec, repaired, oddities, out);
        }
        self.release(out);
        if !summary.has_slice {
            return self.on_preamble(&repaired, layout, oddities, out);
        }
        if !self.preamble.is_empty() {
            let units = self.preamble.iter().map(Bytes::as_ref).chain(layout.units(&repaired.payload));
            let payload = nal::length_prefixed(units, layout.length_bytes);
            self.preamble.clear();
            repaired.summary = layout.summarize(&payload);
            repaired.body = with_payload(&message, tag, &payload);
            repaired.payload = payload;
        }
        let Repaired { payload, body, summary, is_alone } = repaired;
        let key = is_key(summary, flagged);
        oddities.wrong_flags |= key != flagged;
        if key && layout.codec == VideoCodec::Avc {
            self.learn(tag, &payload, layout.length_bytes, oddities, out);
        }
        let packet = picture(tag, body, key, payload);
        self.picture = Some(OpenPicture { wire, bytes: packet.held_bytes() });
        if oddities.split_pictures && is_alone {
            self.held = Some(Held { begin: Stamped { packet, wire, was_held: true }, slices: BytesMut::new() });
        } else {
            out.push(packet);
        }
    }

    /// Appends slices to the newest picture.
    fn on_slices(&mut self, codec: VideoCodec, repaired: Repaired, oddities: &mut Oddities, out: &mut Out<'_>) {
        let Some(picture) = &mut self.picture else { return };
        picture.bytes = picture.bytes.saturating_add(repaired.payload.len() + size_of::<Packet>());
        if picture.bytes > MESSAGE_BYTES_MAX {
            // No real picture is this large.
            self.release(out);
            return out.push(repaired.marker());
        }
        if repaired.is_alone
            && let Some(held) = &mut self.held
        {
            return held.slices.put_slice(&repaired.payload);
        }
        self.release(out);
        oddities.split_pictures = true;
        let slices = Packet::opaque(PacketKind::Slices, Timestamp::ZERO, repaired.body);
        out.push(Packet { codec: Codec::Video(codec), payload: repaired.payload, ..slices });
    }

    /// Passes on the picture that was held back; it is complete.
    fn release(&mut self, out: &mut Out<'_>) {
        out.out.extend(self.held.take().map(Held::whole));
    }

    /// Keeps units that precede their picture, to pass them on with it.
    fn on_preamble(&mut self, repaired: &Repaired, layout: Layout, oddities: &mut Oddities, out: &mut Out<'_>) {
        let held = |unit: &[u8]| unit.len() + size_of::<Bytes>();
        let waiting: usize = self.preamble.iter().map(|unit| held(unit)).sum();
        let more: usize = layout.units(&repaired.payload).map(held).sum();
        if waiting + more > PREAMBLE_BYTES_MAX || !repaired.is_alone {
            return out.push(repaired.marker());
        }
        oddities.split_pictures = true;
        // Copied, because they are small and their message shares a block with many others.
        self.preamble.extend(layout.units(&repaired.payload).map(Bytes::copy_from_slice));
    }

    /// Makes the parameter sets before a keyframe the current ones if the header is missing or differs.
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
            // A record has room for no more.
            units.take(0x1F).map(|unit| Bytes::copy_from_slice(avc::trimmed(unit))).collect::<Vec<_>>()
        };
        let sps = of_kind(avc::nal::SPS);
        if sps.is_empty() {
            return;
        }
        let header = match self.header.as_ref().map(|header| (header.tagged, &header.config)) {
            Some((_, ParsedHeader::Avc(config))) => Some(config),
            Some((tagged, _)) if tagged == tag.codec => return,
            _ => None,
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
        // If the encoder's own header is usable, RTMP outputs get only that one.
        let body = if is_complete {
            Bytes::new()
        } else {
            VideoTag { content: Content::Header, cts_ms: 0, payload: record.clone(), ..tag.clone() }.encode()
        };
        out.push(header_packet(VideoCodec::Avc, record, body));
        self.learned = Some(config);
        // Drops a header of another codec.
        self.header.take_if(|header| header.tagged != tag.codec);
    }

    /// How the units of a picture are framed in its message.
    fn layout(&self, tag: &VideoTag) -> Layout {
        let own = self.header.as_ref().filter(|header| header.tagged == tag.codec);
        let length_bytes = match self.header.as_ref().map(|header| &header.config) {
            Some(ParsedHeader::Avc(config)) => config.length_bytes,
            Some(ParsedHeader::Hevc(config)) => config.length_bytes,
            _ => LENGTH_BYTES,
        };
        Layout { codec: own.map_or(tag.codec, |header| header.codec), length_bytes }
    }
}

/// Whether decoding can start at a picture. An intra picture that the encoder flags as keyframe is accepted even if the
/// bitstream does not mark a random access point.
fn is_key(summary: NalSummary, flagged: bool) -> bool {
    summary.random_access || flagged && summary.intra
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

/// A record for an H.264 header that contains parameter sets with start codes.
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
