//! Memory for message payloads, in blocks. A stream has about a hundred messages per second, which are held for seconds
//! and freed in order. One block for many of them needs far fewer allocations and page faults than one allocation each.

use bytes::BytesMut;

/// Size of the first block: enough for the commands before media, so that an idle connection uses little memory.
const FIRST_BLOCK_BYTES: usize = 2 * 1024;
/// Each block is twice as large as the previous one, up to this. Allocators request larger blocks from the system, and
/// return them, one by one.
const BLOCK_BYTES_MAX: usize = 120 * 1024;
/// Larger payloads are allocated separately. If the rest of a block is too small for a payload, it is unused.
const PAYLOAD_BYTES_MAX: usize = BLOCK_BYTES_MAX / 4;

/// Allocates payload buffers.
#[derive(Debug)]
pub(super) struct Arena {
    block: BytesMut,
    next_bytes: usize,
}

impl Default for Arena {
    fn default() -> Self {
        Self { block: BytesMut::new(), next_bytes: FIRST_BLOCK_BYTES }
    }
}

impl Arena {
    /// An empty buffer with capacity for `bytes`.
    pub(super) fn take(&mut self, bytes: usize) -> BytesMut {
        if bytes > PAYLOAD_BYTES_MAX {
            return BytesMut::with_capacity(bytes);
        }
        if self.block.capacity() < bytes {
            self.block = BytesMut::with_capacity(self.next_bytes.max(bytes));
            self.next_bytes = (2 * self.next_bytes).min(BLOCK_BYTES_MAX);
        }
        let rest = self.block.split_off(bytes);
        std::mem::replace(&mut self.block, rest)
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    #[test]
    fn payloads_have_enough_capacity_and_do_not_overlap() {
        let mut arena = Arena::default();
        let sizes =
            [0, 1, 300, 2_000, 16_000, 1, 30_720, 30_721, 500_000, 7, 100_000, 29_000, 29_000, 29_000, 29_000, 29_000];
        let mut payloads: Vec<BytesMut> = sizes.iter().map(|&bytes| arena.take(bytes)).collect();
        for (n, (payload, &bytes)) in payloads.iter_mut().zip(&sizes).enumerate() {
            assert!(payload.is_empty() && payload.capacity() >= bytes, "{n}");
            payload.put_bytes(n as u8, bytes);
        }
        for (n, (payload, &bytes)) in payloads.into_iter().zip(&sizes).enumerate() {
            assert_eq!(payload.freeze(), vec![n as u8; bytes], "{n}");
        }
    }

    #[test]
    fn consecutive_payloads_share_a_block() {
        let mut arena = Arena::default();
        // Use up the first, smaller blocks.
        drop([1_500, 3_000, 6_000, 12_000, 24_000].map(|bytes| arena.take(bytes)));
        let ends: Vec<_> = (0..100).map(|_| arena.take(400).spare_capacity_mut().as_mut_ptr() as usize).collect();
        assert!(ends.windows(2).filter(|pair| pair[1].wrapping_sub(pair[0]) == 400).count() > 95);
    }
}
