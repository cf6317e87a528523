//! The handshake (RTMP 1.0 section 5.2), and its digest form, which Flash-age clients and some hardware encoders
//! verify.
//!
//! ```text
//! client  C0 (1: version 3)  C1 (4 time, 4 version, 1528 random)           C2 (1536: echo of S1)
//! server                     S0 (1) S1 (4 time, 4 version, 1528 random) S2 (1536: echo of C1)
//! ```
//!
//! A client that puts a digest into C1 gets one in S1 and S2. C2 is never checked: many clients do not echo S1.

use bytes::{BufMut, BytesMut};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Bytes of random filler in C1 and S1.
pub const RANDOM_BYTES: usize = 1_528;
/// Bytes of C1, C2, S1 and S2.
const PART_BYTES: usize = 1_536;
const DIGEST_BYTES: usize = 32;
const VERSION: u8 = 3;
/// Server version in the digest form. Any non-zero version tells the client to look for a digest.
const DIGEST_SERVER_VERSION: [u8; 4] = [3, 5, 1, 1];

/// The fixed keys of the digest form: a text that signs C1 and S1, followed by a tail for the key of C2 and S2.
const CLIENT_KEY: &[u8] = b"Genuine Adobe Flash Player 001";
const SERVER_KEY: &[u8] = b"Genuine Adobe Flash Media Server 001";
const KEY_TAIL: [u8; 32] = [
    0xF0, 0xEE, 0xC2, 0x4A, 0x80, 0x68, 0xBE, 0xE8, 0x2E, 0x00, 0xD0, 0xD1, 0x02, 0x9E, 0x7E, 0x57, 0x6E, 0xEC, 0x5D,
    0x2D, 0x29, 0x80, 0x6F, 0xAB, 0x93, 0xB8, 0xE6, 0x36, 0xCF, 0xEB, 0x31, 0xAE,
];

/// Positions of the digest block in C1 or S1. Two layouts are in use: after the version, or after a key block.
const DIGEST_BLOCKS: [usize; 2] = [8, 772];

/// Why the handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The first byte is not 3. 0x16 is a TLS handshake; `G` and `P` are HTTP.
    #[error("the peer does not speak RTMP (first byte {0:#04x})")]
    Version(u8),
}

/// One end of the handshake.
#[derive(Debug)]
pub struct Handshake {
    role: Role,
    random: Box<[u8; RANDOM_BYTES]>,
    received: BytesMut,
    answered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Server,
    Client,
}

impl Handshake {
    /// The server end, which waits for C0 and C1. `random` fills S1.
    pub fn server(random: [u8; RANDOM_BYTES]) -> Self {
        Self::new(Role::Server, random)
    }

    /// The client end. Appends C0 and C1 to `out`, in the simple form: OBS sends it and every platform accepts it.
    pub fn client(random: [u8; RANDOM_BYTES], out: &mut BytesMut) -> Self {
        out.put_u8(VERSION);
        out.put_bytes(0, 8);
        out.put_slice(&random);
        Self::new(Role::Client, random)
    }

    fn new(role: Role, random: [u8; RANDOM_BYTES]) -> Self {
        Self { role, random: Box::new(random), received: BytesMut::new(), answered: false }
    }

    /// Consumes `input` and appends responses to `out`. Returns whether the handshake is complete. Later bytes remain
    /// in `input`: many clients send `connect` together with C2.
    pub fn advance(&mut self, input: &mut &[u8], out: &mut BytesMut) -> Result<bool, Error> {
        let total = 1 + 2 * PART_BYTES;
        let (taken, rest) = input.split_at(input.len().min(total - self.received.len()));
        self.received.extend_from_slice(taken);
        *input = rest;
        if let Some(&first) = self.received.first()
            && first != VERSION
        {
            return Err(Error::Version(first));
        }
        if !self.answered && self.received.len() > PART_BYTES {
            self.answered = true;
            let peer_part = &self.received[1..=PART_BYTES];
            match self.role {
                Role::Server => answer_client(peer_part, &self.random, out),
                Role::Client => out.put_slice(peer_part),
            }
        }
        Ok(self.received.len() == total)
    }
}

/// Writes S0, S1 and S2 in response to C1.
fn answer_client(c1: &[u8], random: &[u8; RANDOM_BYTES], out: &mut BytesMut) {
    out.put_u8(VERSION);
    let announces_digest = c1[4..8] != [0; 4];
    let client_digest = if announces_digest { find_digest(c1, CLIENT_KEY) } else { None };
    let Some((block, client_digest)) = client_digest else {
        // Version 0 in S1: with any other, FFmpeg's player looks for a digest.
        out.put_bytes(0, 8);
        out.put_slice(random);
        out.put_slice(c1);
        return;
    };
    let mut s1 = [0; PART_BYTES];
    s1[4..8].copy_from_slice(&DIGEST_SERVER_VERSION);
    s1[8..].copy_from_slice(random);
    let at = digest_offset(&s1, block);
    let digest = digest_around(&s1, at, SERVER_KEY);
    s1[at..at + DIGEST_BYTES].copy_from_slice(&digest);
    out.put_slice(&s1);

    // S2 is random as well; its last 32 bytes sign the rest with a key derived from the client's digest.
    let key = hmac(&[SERVER_KEY, &KEY_TAIL].concat(), &[&client_digest]);
    let body = &random[..PART_BYTES - DIGEST_BYTES];
    out.put_slice(body);
    out.put_slice(&hmac(&key, &[body]));
}

/// The layout and digest of a C1 or S1 that is signed with `key`.
fn find_digest(part: &[u8], key: &[u8]) -> Option<(usize, [u8; DIGEST_BYTES])> {
    DIGEST_BLOCKS.into_iter().find_map(|block| {
        let at = digest_offset(part, block);
        let digest = digest_around(part, at, key);
        (part[at..at + DIGEST_BYTES] == digest).then_some((block, digest))
    })
}

/// The digest follows four offset bytes, at their sum modulo 728.
fn digest_offset(part: &[u8], block: usize) -> usize {
    let sum: usize = part[block..block + 4].iter().map(|&byte| usize::from(byte)).sum();
    block + 4 + sum % 728
}

/// HMAC-SHA256 over the part, without the digest itself.
fn digest_around(part: &[u8], at: usize, key: &[u8]) -> [u8; DIGEST_BYTES] {
    hmac(key, &[&part[..at], &part[at + DIGEST_BYTES..]])
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes any key"));
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILL: [u8; RANDOM_BYTES] = [0x5a; RANDOM_BYTES];

    fn server_answer(mut from_client: &[u8]) -> (bool, BytesMut) {
        let mut out = BytesMut::new();
        let done = Handshake::server(FILL).advance(&mut from_client, &mut out).expect("is RTMP");
        (done, out)
    }

    #[test]
    fn both_ends_agree_byte_by_byte() {
        let mut to_server = BytesMut::new();
        let mut to_client = BytesMut::new();
        let mut client = Handshake::client([1; RANDOM_BYTES], &mut to_server);
        let mut server = Handshake::server([2; RANDOM_BYTES]);
        let (mut client_done, mut server_done) = (false, false);
        while !(client_done && server_done) {
            let up = to_server.split();
            for byte in up {
                server_done = server.advance(&mut &[byte][..], &mut to_client).expect("is RTMP");
            }
            let down = to_client.split();
            for byte in down {
                client_done = client.advance(&mut &[byte][..], &mut to_server).expect("is RTMP");
            }
        }
    }

    #[test]
    fn bytes_after_c2_remain() {
        let mut input = vec![0; 1 + 2 * PART_BYTES];
        input[0] = 3;
        input.extend_from_slice(b"connect");
        let mut rest = input.as_slice();
        assert_eq!(Handshake::server(FILL).advance(&mut rest, &mut BytesMut::new()), Ok(true));
        assert_eq!(rest, b"connect");
    }

    #[test]
    fn simple_client_gets_version_zero_and_its_echo() {
        let c1 = [7; PART_BYTES];
        let mut c1 = c1.to_vec();
        c1[4..8].fill(0);
        let (_, out) = server_answer(&[&[3], c1.as_slice()].concat());
        assert_eq!(out[5..9], [0; 4]);
        assert_eq!(out[1 + PART_BYTES..], c1);
    }

    #[test]
    fn digest_client_can_verify_s1_and_s2() {
        for block in DIGEST_BLOCKS {
            let mut c1 = [0x11; PART_BYTES];
            c1[4..8].copy_from_slice(&[9, 0, 124, 2]);
            let at = digest_offset(&c1, block);
            let digest = digest_around(&c1, at, CLIENT_KEY);
            c1[at..at + DIGEST_BYTES].copy_from_slice(&digest);
            let (_, out) = server_answer(&[&[3], c1.as_slice()].concat());
            let (s1, s2) = out[1..].split_at(PART_BYTES);
            assert_eq!(find_digest(s1, SERVER_KEY).map(|(found, _)| found), Some(block));
            let key = hmac(&[SERVER_KEY, &KEY_TAIL].concat(), &[&digest]);
            let (body, signature) = s2.split_at(PART_BYTES - DIGEST_BYTES);
            assert_eq!(signature, hmac(&key, &[body]));
        }
    }

    #[test]
    fn other_protocols_are_refused_at_the_first_byte() {
        for first in [0x16, b'G', b'P', 0, 6] {
            let refused = Handshake::server(FILL).advance(&mut &[first][..], &mut BytesMut::new());
            assert_eq!(refused, Err(Error::Version(first)));
        }
    }
}
