//! Encoder against decoder, and the decoder against the output of real encoders.

use std::num::NonZeroUsize;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::rtmp::message::{Message, MessageType};

fn message(timestamp: u32, payload: Vec<u8>) -> Message {
    Message { kind: MessageType::Video, stream_id: 1, timestamp, payload: payload.into() }
}

/// Decodes the bytes in pieces of `step`, applying chunk sizes.
fn decode(bytes: &[u8], step: usize) -> Result<Vec<Message>, Error> {
    let mut decoder = Decoder::new(Bounds::ADMITTED);
    decode_with(&mut decoder, bytes, step)
}

fn decode_with(decoder: &mut Decoder, bytes: &[u8], step: usize) -> Result<Vec<Message>, Error> {
    let mut messages = Vec::new();
    for mut piece in bytes.chunks(step) {
        while let Some(message) = decoder.decode(&mut piece)? {
            if message.kind == MessageType::SetChunkSize {
                let size = message.payload.first_chunk::<4>().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                decoder.set_chunk_size(size)?;
            }
            messages.push(message);
        }
    }
    Ok(messages)
}

fn set_chunk_size(size: u32) -> Vec<u8> {
    [&[2, 0, 0, 0, 0, 0, 4, 1, 0, 0, 0, 0][..], &size.to_be_bytes()].concat()
}

fn times(messages: &[Message]) -> Vec<u32> {
    messages.iter().map(|message| message.timestamp).collect()
}

/// A type 0 header for a 2-byte video message on chunk stream 6.
fn fmt0(time: u32) -> Vec<u8> {
    let field = time.min(0xFF_FFFF).to_be_bytes();
    let mut header = vec![6, field[1], field[2], field[3], 0, 0, 2, 9, 1, 0, 0, 0];
    if time >= 0xFF_FFFF {
        header.extend_from_slice(&time.to_be_bytes());
    }
    header
}

proptest! {
    #[test]
    fn messages_round_trip(
        messages in prop::collection::vec((2_u8..8, any::<u32>(), 0_u32..3, prop::collection::vec(any::<u8>(), 0..600)), 1..12),
        chunk_size in 1_usize..300,
        step in 1_usize..400,
    ) {
        let mut encoder = Encoder::default();
        let mut wire = BytesMut::from(set_chunk_size(chunk_size as u32).as_slice());
        encoder.set_chunk_size(NonZeroUsize::new(chunk_size).expect("from 1"));
        let mut sent = Vec::new();
        for (csid, timestamp, stream_id, payload) in messages {
            let message = Message { kind: MessageType::Audio, stream_id, timestamp, payload: payload.into() };
            encoder.message(csid, &message, &mut wire);
            sent.push(message);
        }
        let received = decode(&wire, step).expect("decodes");
        prop_assert_eq!(&received[1..], sent.as_slice());
    }

    #[test]
    fn laid_out_payload_equals_the_encoded_message(
        payload in prop::collection::vec(any::<u8>(), 0..5_000),
        chunk_size in 1_usize..6_000,
        timestamp in 0_u32..0xFF_FFFF,
    ) {
        let chunk_size = NonZeroUsize::new(chunk_size).expect("from 1");
        let message = message(timestamp, payload);
        let mut encoder = Encoder::default();
        encoder.set_chunk_size(chunk_size);
        let mut whole = BytesMut::new();
        encoder.clone().message(csid::VIDEO, &message, &mut whole);
        let header = encoder.header(csid::VIDEO, MessageType::Video, 1, timestamp, message.payload.len());
        prop_assert_eq!(lay_out(&header, &message.payload, chunk_size), whole.freeze());
    }

    #[test]
    fn arbitrary_bytes_do_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_000), step in 1_usize..100) {
        let mut decoder = Decoder::new(Bounds::UNADMITTED);
        let _ = decode_with(&mut decoder, &bytes, step);
        prop_assert!(decoder.held_bytes() <= bytes.len());
    }
}

#[test]
fn interleaved_chunk_streams_are_separated() {
    let mut wire = fmt0(10);
    wire[6] = 200; // 200 bytes: two chunks
    wire.extend([1; 128]);
    wire.extend([4, 0, 0, 11, 0, 0, 1, 8, 1, 0, 0, 0, 0xAF]);
    wire.push(0xC6);
    wire.extend([2; 72]);
    let messages = decode(&wire, 7).expect("decodes");
    assert_eq!(
        messages.iter().map(|m| (m.kind, m.payload.len())).collect::<Vec<_>>(),
        [(MessageType::Audio, 1), (MessageType::Video, 200)]
    );
}

#[test]
fn chunk_size_may_change_between_the_chunks_of_a_message() {
    let mut wire = fmt0(0);
    wire[5..7].copy_from_slice(&[1, 0x2C]); // 300 bytes
    wire.extend([1; 128]);
    wire.extend(set_chunk_size(1_000));
    wire.push(0xC6);
    wire.extend([2; 172]);
    let messages = decode(&wire, 50).expect("decodes");
    assert_eq!(messages[1].payload.len(), 300);
}

#[test]
fn every_chunk_stream_id_is_accepted() {
    for (basic, csid) in [
        (vec![0x00, 0], 64),
        (vec![0x00, 255], 319),
        (vec![0x01, 0, 1], 320),
        (vec![0x01, 255, 255], 65_599),
        (vec![0x01, 0, 0], 64),
    ] {
        let mut wire = basic.clone();
        wire.extend([0, 0, 1, 0, 0, 130, 9, 1, 0, 0, 0]);
        wire.extend([5; 128]);
        wire.push(basic[0] | 0xC0);
        wire.extend(&basic[1..]);
        wire.extend([5; 2]);
        assert_eq!(decode(&wire, 3).expect("decodes")[0].payload.len(), 130, "csid {csid}");
    }
}

#[test]
fn extended_time_is_read_with_and_without_repetition() {
    for repeats in [true, false] {
        for payload in [[9, 9], [0x01, 0xFF]] {
            let mut wire = set_chunk_size(1);
            wire.extend(fmt0(0x01FF_FFFF));
            wire.push(payload[0]);
            wire.push(0xC6);
            if repeats {
                wire.extend(0x01FF_FFFF_u32.to_be_bytes());
            }
            wire.push(payload[1]);
            // The header of the next message must not be mistaken for the rest of a timestamp.
            wire.extend([0x46, 0, 0, 40, 0, 0, 1, 9, 7]);
            for step in [1, 3, 100] {
                let messages = decode(&wire, step).expect("decodes");
                assert_eq!(messages[1].payload.as_ref(), payload, "repeats {repeats} step {step}");
                assert_eq!(times(&messages[1..]), [0x01FF_FFFF, 0x01FF_FFFF + 40]);
            }
        }
    }
}

#[test]
fn negative_delta_wraps_as_obs_sends_it() {
    let mut wire = fmt0(1_000);
    wire.extend([1, 1]);
    wire.extend([0x46, 0xFF, 0xFF, 0xFF, 0, 0, 2, 9, 0xFF, 0xFF, 0xFF, 0xF0, 2, 2]);
    assert_eq!(times(&decode(&wire, 5).expect("decodes")), [1_000, 984]);
}

#[test]
fn type_3_message_adds_the_last_delta() {
    // After type 0, the timestamp itself is the delta. After types 1 and 2, their delta.
    let mut wire = fmt0(20);
    wire.extend([1, 1]);
    wire.extend([0xC6, 1, 1]);
    wire.extend([0x46, 0, 0, 5, 0, 0, 2, 9, 1, 1]);
    wire.extend([0xC6, 1, 1]);
    wire.extend([0x86, 0, 0, 7, 1, 1]);
    wire.extend([0xC6, 1, 1]);
    assert_eq!(times(&decode(&wire, 4).expect("decodes")), [20, 40, 45, 50, 57, 64]);
}

#[test]
fn compressed_header_on_a_new_chunk_stream_is_accepted() {
    let fmt1 = [0x46, 0, 0, 9, 0, 0, 1, 9, 0xAA];
    let messages = decode(&fmt1, 2).expect("decodes");
    assert_eq!((messages[0].timestamp, messages[0].stream_id), (9, 0));
    let fmt2_then_fmt0 = [&[0xA1, 0, 0, 9][..], &fmt0(3), &[1, 1]].concat();
    let messages = decode(&fmt2_then_fmt0, 2).expect("decodes");
    assert_eq!(messages.last().map(|m| m.timestamp), Some(3));
}

#[test]
fn new_header_in_the_middle_of_a_message_restarts_it() {
    let mut wire = fmt0(10);
    wire[6] = 200;
    wire.extend([1; 128]);
    wire.extend(fmt0(20));
    wire.extend([7, 7]);
    let mut decoder = Decoder::new(Bounds::ADMITTED);
    let messages = decode_with(&mut decoder, &wire, 11).expect("decodes");
    assert_eq!((times(&messages), decoder.held_bytes()), (vec![20], 0));
}

#[test]
fn abort_drops_the_partial_message() {
    let mut wire = fmt0(10);
    wire[6] = 200;
    wire.extend([1; 128]);
    let mut decoder = Decoder::new(Bounds::ADMITTED);
    assert_eq!(decode_with(&mut decoder, &wire, 64), Ok(vec![]));
    assert_eq!(decoder.held_bytes(), 128);
    decoder.abort(6);
    assert_eq!(decoder.held_bytes(), 0);
    let next = [&fmt0(30)[..], &[1, 1]].concat();
    assert_eq!(times(&decode_with(&mut decoder, &next, 64).expect("decodes")), [30]);
}

#[test]
fn excess_memory_is_refused_before_it_is_allocated() {
    let mut decoder = Decoder::new(Bounds::UNADMITTED);
    let huge = [6, 0, 0, 0, 0xFF, 0xFF, 0xFF, 9, 1, 0, 0, 0];
    assert_eq!(decoder.decode(&mut &huge[..]), Err(Error::MessageTooLarge(0xFF_FFFF)));

    let mut many = Vec::new();
    for csid in 3..=66_u8 {
        many.extend([0, csid, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0]);
        many.extend([0; 128]);
    }
    many.extend([0, 0, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0]);
    assert_eq!(decode(&many, 4_096), Err(Error::ChunkStreams));

    let mut decoder = Decoder::new(Bounds { message_bytes: 1_000, reassembly_bytes: 300 });
    let halves: Vec<u8> = (0..4_u8)
        .flat_map(|csid| [vec![3 + csid, 0, 0, 0, 0, 0, 200, 9, 1, 0, 0, 0], vec![0; 128]].concat())
        .collect();
    assert_eq!(decoder.decode(&mut halves.as_slice()), Err(Error::ReassemblyFull));

    assert_eq!(decoder.set_chunk_size(0), Err(Error::ChunkSize(0)));
    assert_eq!(decoder.set_chunk_size(0x8000_0000), Err(Error::ChunkSize(0x8000_0000)));
    assert_eq!(decoder.set_chunk_size(0x7FFF_FFFF), Ok(()));
}

#[test]
fn one_byte_chunks_are_accepted_up_to_a_limit() {
    let mut small = set_chunk_size(1);
    let mut encoder = Encoder::default();
    encoder.set_chunk_size(NonZeroUsize::MIN);
    let mut wire = BytesMut::new();
    encoder.message(csid::VIDEO, &message(0, vec![3; 5_000]), &mut wire);
    small.extend(&wire);
    assert_eq!(decode(&small, 512).expect("decodes")[1].payload.len(), 5_000);

    let mut endless = BytesMut::from(set_chunk_size(1).as_slice());
    encoder.message(csid::VIDEO, &message(0, vec![3; 100_000]), &mut endless);
    assert_eq!(decode(&endless, 4_096), Err(Error::TinyChunks));
}

#[test]
fn deltas_need_no_extended_timestamp_after_four_hours() {
    let mut encoder = Encoder::default();
    encoder.header(csid::VIDEO, MessageType::Video, 1, 0xFF_FFF0, 10);
    let later = encoder.header(csid::VIDEO, MessageType::Video, 1, 0x100_0020, 10);
    assert_eq!((later.as_bytes().len(), later.extended()), (8, None));
    let fresh = Encoder::default().header(csid::VIDEO, MessageType::Video, 1, 0x100_0020, 10);
    assert_eq!((fresh.as_bytes().len(), fresh.extended()), (16, Some(0x100_0020)));
}

#[test]
fn time_that_goes_back_is_sent_as_absolute() {
    let mut encoder = Encoder::default();
    encoder.header(csid::AUDIO, MessageType::Audio, 1, 500, 10);
    let back = encoder.header(csid::AUDIO, MessageType::Audio, 1, 400, 10);
    assert_eq!(back.as_bytes().first().map(|byte| byte >> 6), Some(0));
}

#[test]
fn short_lived_messages_do_not_share_blocks_with_media() {
    let bodies = |junk: MessageType| {
        let (mut encoder, mut wire) = (Encoder::default(), BytesMut::new());
        for n in 0..200 {
            encoder.message(csid::VIDEO, &message(n, vec![0x27; 100]), &mut wire);
            let junk = Message { kind: junk, stream_id: 1, timestamp: n, payload: vec![0; 100].into() };
            encoder.message(csid::COMMAND, &junk, &mut wire);
        }
        let messages = decode(&wire, 4_096).expect("decodes");
        let kept = messages.into_iter().filter(|message| message.kind == MessageType::Video);
        kept.map(|message| message.payload).collect::<Vec<_>>()
    };
    // Video messages are adjacent, whatever arrives between them.
    for junk in
        [MessageType::Unknown(99), MessageType::CommandAmf0, MessageType::SharedObjectAmf0, MessageType::Aggregate]
    {
        let bodies = bodies(junk);
        let adjacent = bodies.windows(2).filter(|pair| pair[0].as_ptr_range().end == pair[1].as_ptr()).count();
        assert!(adjacent > 190, "{junk:?}: {adjacent}");
    }
    let audio = bodies(MessageType::Audio);
    assert!(audio.windows(2).all(|pair| pair[0].as_ptr_range().end != pair[1].as_ptr()), "media shares blocks");
}
