//! The NAL units of a message: parsed, and repaired where readers could not accept them.

use bytes::Bytes;

use super::oddities::Oddities;
use crate::{
    codec::nal::{self, Framing, NalSummary},
    flv::video::VideoTag,
    limits::MESSAGE_BYTES_MAX,
    packet::{Packet, PacketKind},
    time::Timestamp,
    track::VideoCodec,
};

/// How NAL units are framed in a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub(super) codec: VideoCodec,
    pub(super) length_bytes: usize,
}

/// A repaired message: complete units, none of them empty.
#[derive(Debug)]
pub(super) struct Repaired {
    pub(super) payload: Bytes,
    pub(super) body: Bytes,
    pub(super) summary: NalSummary,
    /// Nothing follows the payload. A multitrack message has more data after it.
    pub(super) is_alone: bool,
}

impl Repaired {
    /// A packet that RTMP outputs pass on and packagers ignore.
    pub(super) fn marker(&self) -> Packet {
        Packet::opaque(PacketKind::VideoOther, Timestamp::ZERO, self.body.clone())
    }
}

impl Layout {
    pub(super) fn units(self, payload: &Bytes) -> impl Iterator<Item = &[u8]> {
        nal::units(payload, self.length_bytes)
    }

    pub(super) fn summarize(self, payload: &Bytes) -> NalSummary {
        nal::summarize(self.codec, self.units(payload))
    }

    /// Converts start codes and removes empty units. `None` if the message does not consist of units.
    pub(super) fn repair(self, tag: &VideoTag, message: &Bytes, oddities: &mut Oddities) -> Option<Repaired> {
        let Self { length_bytes, .. } = self;
        let (mut payload, mut body) = (tag.payload.clone(), message.clone());
        let framing = match nal::framing(&payload, length_bytes) {
            Framing::Invalid if nal::has_start_code(&payload) => {
                oddities.start_codes = true;
                payload = nal::length_prefixed(nal::split_start_codes(&payload), length_bytes);
                body = with_payload(message, tag, &payload);
                Framing::Complete
            }
            Framing::Invalid => return None,
            framing => framing,
        };
        let mut summary = self.summarize(&payload);
        if !summary.has_slice {
            // Some encoders put several units, separated by start codes, under one length prefix.
            let split = nal::length_prefixed(self.units(&payload).flat_map(nal::split_start_codes), length_bytes);
            let of_split = self.summarize(&split);
            if of_split.has_slice {
                oddities.start_codes = true;
                (payload, summary) = (split, of_split);
            }
        }
        if framing == Framing::WithEmptyUnits {
            oddities.empty_units = true;
            payload = nal::length_prefixed(self.units(&payload), length_bytes);
            body = with_payload(message, tag, &payload);
        }
        Some(Repaired { payload, body, summary, is_alone: head(message, tag).is_some() })
    }
}

/// The bytes before the payload, if the message ends with the payload.
fn head<'a>(message: &'a Bytes, tag: &VideoTag) -> Option<&'a [u8]> {
    let ends = message.as_ptr_range().end == tag.payload.as_ptr_range().end;
    message.get(..message.len().checked_sub(tag.payload.len())?).filter(|_| ends)
}

/// The message with another payload. Unchanged if it has several tracks, or if the result would exceed the message size
/// limit.
pub(super) fn with_payload(message: &Bytes, tag: &VideoTag, payload: &Bytes) -> Bytes {
    match head(message, tag) {
        Some(head) if head.len() + payload.len() <= MESSAGE_BYTES_MAX => [head, payload].concat().into(),
        _ => message.clone(),
    }
}
