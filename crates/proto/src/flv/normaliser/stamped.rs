//! Packets as they leave the normaliser, with their message timestamps.

use crate::packet::Packet;

/// A packet and the timestamp of its message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The packet. Its `dts` is relative to `wire`: one message may contain several frames.
    pub packet: Packet,
    /// The message timestamp: milliseconds on the encoder's clock, wrapping at 32 bits.
    pub wire: u32,
    /// The packet was held back: it arrived with the previous video message.
    pub was_held: bool,
}

/// Collects the packets of one message.
pub(super) struct Out<'a> {
    pub(super) wire: u32,
    pub(super) out: &'a mut Vec<Stamped>,
}

impl Out<'_> {
    pub(super) fn push(&mut self, packet: Packet) {
        let wire = self.wire;
        self.out.push(Stamped { packet, wire, was_held: false });
    }
}
