//! Packets as they leave the normaliser, with the stamps of their messages.

use crate::packet::Packet;

/// A packet, and the time that it was stamped with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamped {
    /// The packet. Its time counts from its stamp: several frames may have come in one message.
    pub packet: Packet,
    /// Milliseconds on the encoder's clock, wrapping at 32 bits.
    pub wire: u32,
    /// It was held until now: it came with the video message before this one.
    pub was_held: bool,
}

/// Where the packets of one message go.
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
