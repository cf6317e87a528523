//! The send queue of a connection: small parts are written here, large ones are shared with other connections.
//!
//! It is a [`Buf`] with vectored chunks, so one `writev` sends headers and payloads of many messages at once, and no
//! payload byte is copied.

use std::{collections::VecDeque, io::IoSlice};

use bytes::{Buf, Bytes, BytesMut};

/// Growth step in bytes; a media header has 8 bytes.
const SCRATCH_BYTES: usize = 2_048;

/// A queue of bytes to send.
#[derive(Debug, Default)]
pub struct Outbox {
    parts: VecDeque<Bytes>,
    /// Bytes after the last part; small writes are appended here.
    scratch: BytesMut,
    parts_bytes: usize,
}

impl Outbox {
    /// The buffer for small writes.
    pub fn scratch(&mut self) -> &mut BytesMut {
        if self.scratch.capacity() - self.scratch.len() < 64 {
            self.scratch.reserve(SCRATCH_BYTES);
        }
        &mut self.scratch
    }

    /// Appends shared bytes.
    pub fn push(&mut self, shared: Bytes) {
        if shared.is_empty() {
            return;
        }
        self.seal();
        self.parts_bytes += shared.len();
        self.parts.push_back(shared);
    }

    fn seal(&mut self) {
        if !self.scratch.is_empty() {
            let sealed = self.scratch.split().freeze();
            self.parts_bytes += sealed.len();
            self.parts.push_back(sealed);
        }
    }

    /// Takes all bytes in one piece; for tests and small responses.
    pub fn drain(&mut self) -> Bytes {
        let len = self.remaining();
        self.copy_to_bytes(len)
    }
}

impl Buf for Outbox {
    fn remaining(&self) -> usize {
        self.parts_bytes + self.scratch.len()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&self.scratch, |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let scratch = (!self.scratch.is_empty()).then_some(self.scratch.as_ref());
        let parts = self.parts.iter().map(Bytes::as_ref).chain(scratch);
        slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, mut sent: usize) {
        while let Some(front) = self.parts.front_mut().filter(|_| sent > 0) {
            let step = sent.min(front.len());
            front.advance(step);
            sent -= step;
            self.parts_bytes -= step;
            if front.is_empty() {
                self.parts.pop_front();
            }
        }
        self.scratch.advance(sent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_sent_in_order() {
        let mut outbox = Outbox::default();
        outbox.scratch().extend_from_slice(b"ab");
        outbox.push(Bytes::from_static(b"cde"));
        outbox.push(Bytes::new());
        outbox.scratch().extend_from_slice(b"f");
        assert_eq!(outbox.remaining(), 6);
        let mut slices = [IoSlice::new(&[]); 8];
        let count = outbox.chunks_vectored(&mut slices);
        assert_eq!(slices[..count].iter().map(|slice| slice.len()).collect::<Vec<_>>(), [2, 3, 1]);
        outbox.advance(3);
        outbox.scratch().extend_from_slice(b"g");
        assert_eq!(outbox.drain(), Bytes::from_static(b"defg"));
        assert_eq!((outbox.remaining(), outbox.chunk().len()), (0, 0));
    }
}
