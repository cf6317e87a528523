//! Readers with a delay, and their effect on readers without one.

use proptest::prelude::*;

use super::*;

/// Packets of any kind and size, each with a random pause before it.
fn packets() -> impl Strategy<Value = Vec<(PacketKind, i64, usize)>> {
    let kind = prop_oneof![
        1 => Just(VideoHeader),
        1 => Just(AudioHeader),
        2 => Just(Keyframe),
        20 => Just(InterFrame),
        20 => Just(Audio),
    ];
    let bytes = prop_oneof![20 => 0..5_000_usize, 1 => 0..20 * 1024 * 1024_usize];
    prop::collection::vec((kind, 0..600_i64, bytes), 0..400)
}

/// A start in comparable form.
fn found(start: Option<Start>) -> Option<(u64, StartReason, i64, u64, Vec<Bytes>)> {
    let start = start?;
    let headers = start.headers.iter().map(|entry| entry.packet.flv.clone()).collect();
    Some((start.sequence, start.reason, start.earliest.as_ms(), start.video_frames_before, headers))
}

fn of(kind: PacketKind, ms: i64, bytes: usize) -> Packet {
    // All packets share one allocation; only lengths are counted.
    static BODY: std::sync::LazyLock<Bytes> = std::sync::LazyLock::new(|| Bytes::from(vec![0; 20 * 1024 * 1024]));
    Packet::opaque(kind, Timestamp::from_ms(ms), BODY.slice(..bytes))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn reader_without_a_delay_is_unaffected_by_delays_of_others(packets in packets(), delay_ms in 1..300_000_i64) {
        let (mut alone, mut beside, mut ms) = (Ring::default(), Ring::default(), 0);
        beside.keep_for(delay_ms);
        let mut waits = [None, None];
        for (n, (kind, pause_ms, bytes)) in packets.into_iter().enumerate() {
            ms += pause_ms;
            alone.push(of(kind, ms, bytes), ms);
            beside.push(of(kind, ms, bytes), ms);
            prop_assert_eq!(alone.newest(), beside.newest());
            prop_assert_eq!(found(alone.start(&mut None)), found(beside.start(&mut None)));
            let [here, there] = &mut waits;
            prop_assert_eq!(found(alone.start(here)), found(beside.start(there)));
            prop_assert!(beside.held_bytes() <= KEPT_BYTES_MAX + DELAYED_BYTES_MAX);
            if n % 100 == 99 {
                beside.keep_for(0);
                prop_assert_eq!(alone.held_bytes(), beside.held_bytes(), "delayed packets are evicted");
                prop_assert_eq!(alone.newest(), beside.newest());
                beside.keep_for(delay_ms);
            }
        }
    }

    #[test]
    fn delayed_reader_starts_as_an_undelayed_one_did(
        packets in packets(),
        delay_ms in 1..60_000_i64,
        joins_at in 0..400_usize,
    ) {
        let (mut ring, mut ms) = (Ring::default(), 0);
        ring.keep_for(delay_ms);
        let (mut then, mut moment) = (Vec::new(), Moment::default());
        for (n, (kind, pause_ms, bytes)) in packets.into_iter().enumerate() {
            ms += pause_ms;
            // Limits the size to what fits.
            ring.push(of(kind, ms, bytes.min(100_000)), ms);
            then.push((ms, ring.newest(), found(ring.start(&mut None))));
            if n < joins_at {
                continue;
            }
            prop_assert_eq!(ring.follow(&mut moment, ms - delay_ms), None, "nothing is due early");
            let due = then.iter().rfind(|(at_ms, ..)| *at_ms <= ms - delay_ms);
            let Some((_, packets, start)) = due else {
                prop_assert!(moment.packets().is_empty());
                continue;
            };
            // Packets from before a pause of the encoder may be evicted earlier, by at most the length of the pause.
            prop_assert_eq!(moment.packets(), packets.start.max(ring.first)..packets.end);
            if packets.start < ring.first {
                continue;
            }
            // The wait for a keyframe is state of the ring, so these starts may differ.
            let here = found(ring.start_at(&mut moment, &mut None));
            let waits = |start: &Option<(u64, StartReason, i64, u64, Vec<Bytes>)>| {
                start.as_ref().is_none_or(|(_, reason, ..)| *reason == StartReason::NoKeyframe)
            };
            prop_assert!(here == *start || waits(&here) && waits(start), "{:?} {:?}", here, start);
        }
    }
}

#[test]
fn packets_for_delayed_readers_are_bounded_by_number() {
    let mut ring = Ring::default();
    ring.keep_for(300_000);
    let mut moment = Moment::default();
    let mut early = 0;
    for n in 0..600_000 {
        ring.push(packet(Audio, 0, 0), n / 10);
        if n % 1_000 == 0 {
            let before = moment.packets();
            early += u32::from(ring.follow(&mut moment, n / 10 - 300_000).is_some());
            assert!(moment.packets().start <= before.end, "none is missed at {n}");
        }
    }
    assert!(ring.entries.len() <= KEPT_PACKETS_MAX + DELAYED_PACKETS_MAX);
    assert!(early > 100, "packets are due early");
    assert!(ring.held_bytes() <= KEPT_BYTES_MAX + DELAYED_BYTES_MAX);
}
