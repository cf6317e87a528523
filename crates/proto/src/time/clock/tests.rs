//! Timestamps as encoders send them, and the media times that the clock assigns.

use proptest::prelude::*;

use super::*;
use MainTrack::{Audio, Video};

/// A packet on its way: its track, timestamp, arrival, and true time.
#[derive(Clone, Copy, Debug)]
struct Sent {
    track: MainTrack,
    wire: u32,
    arrived_ms: i64,
    true_ms: i64,
}

/// Pictures at 30 fps and audio at 48 kHz that arrive on time.
fn stream(seconds: i64) -> Vec<Sent> {
    let sent = |track, ms: i64| Sent { track, wire: ms as u32, arrived_ms: ms, true_ms: ms };
    let video = (0..seconds * 30).map(|n| sent(Video, n * 100 / 3));
    let audio = (0..seconds * 1_000 * 48 / 1_024).map(|n| sent(Audio, n * 1_024 / 48));
    let mut all: Vec<_> = video.chain(audio).collect();
    all.sort_by_key(|packet| packet.arrived_ms);
    all
}

fn place(sent: &[Sent]) -> (Vec<i64>, Findings) {
    let mut clock = Clock::default();
    let times = sent.iter().map(|p| clock.place(p.track, p.wire, p.arrived_ms).as_ms()).collect();
    (times, clock.findings())
}

/// Changes the packets in the order of arrival.
fn bend(mut sent: Vec<Sent>, change: impl Fn(&mut Sent)) -> Vec<Sent> {
    sent.iter_mut().for_each(change);
    sent.sort_by_key(|packet| packet.arrived_ms);
    sent
}

/// The largest deviation from true time, by track.
fn away(sent: &[Sent], times: &[i64]) -> [i64; 2] {
    [Video, Audio].map(|track| {
        let of_track = sent.iter().zip(times).filter(|(packet, _)| packet.track == track);
        of_track.map(|(packet, time)| (time - packet.true_ms).abs()).max().unwrap_or(0)
    })
}

#[test]
fn times_of_a_steady_encoder_are_unchanged() {
    let sent = stream(60);
    let (times, findings) = place(&sent);
    assert_eq!(away(&sent, &times), [0, 0]);
    assert_eq!(findings, Findings::default());
}

#[test]
fn wrap_at_32_bits_is_seamless() {
    let before = 5_000_u32.wrapping_neg();
    let sent = bend(stream(10), |packet| packet.wire = packet.wire.wrapping_add(before));
    let (times, _) = place(&sent);
    let begins = i64::from(before);
    assert!(sent.iter().zip(&times).all(|(packet, &time)| time == packet.true_ms + begins));
}

#[test]
fn skew_between_the_tracks_is_kept_and_reported() {
    for (ahead_ms, found) in [(60_000, Some(-60_000)), (2_000, Some(-2_000)), (400, None)] {
        let sent = bend(stream(14), |packet| {
            if packet.track == Video {
                packet.wire += ahead_ms as u32;
                packet.true_ms += ahead_ms;
            }
        });
        let (times, findings) = place(&sent);
        assert_eq!(away(&sent, &times), [0, 0], "{ahead_ms}");
        assert_eq!(findings.skew_ms.map(|skew| (skew + 50) / 100), found.map(|skew| (skew + 50) / 100));
    }
}

#[test]
fn delayed_pictures_stay_in_sync_with_their_audio() {
    let sent = bend(stream(14), |packet| packet.arrived_ms += if packet.track == Video { 1_200 } else { 0 });
    let (times, findings) = place(&sent);
    assert_eq!(away(&sent, &times), [0, 0]);
    assert!(findings.skew_ms.is_some_and(|skew| (1_100..1_300).contains(&skew)), "{findings:?}");
}

#[test]
fn track_returning_on_another_clock_is_placed_by_arrival() {
    // Pictures pause from 6 s to 9 s, then their timestamps begin at 0.
    let mut sent = stream(18);
    sent.retain(|packet| packet.track == Audio || !(6_000..9_000).contains(&packet.true_ms));
    let sent = bend(sent, |packet| {
        if packet.track == Video && packet.true_ms >= 9_000 {
            packet.wire -= 9_000;
        }
    });
    let (times, findings) = place(&sent);
    assert!(away(&sent, &times)[0] <= 40, "{:?}", away(&sent, &times));
    assert_eq!((away(&sent, &times)[1], findings.jumps), (0, 1));
}

#[test]
fn track_whose_clock_stopped_while_silent_is_placed_by_arrival() {
    // Pictures pause from 6 s to 12 s; their timestamps stand still for all or a part of that time.
    for stood_ms in [6_000, 4_000] {
        let mut sent = stream(20);
        sent.retain(|packet| packet.track == Audio || !(6_000..12_000).contains(&packet.true_ms));
        let sent = bend(sent, |packet| {
            if packet.track == Video && packet.true_ms >= 12_000 {
                packet.wire -= stood_ms;
            }
        });
        let (times, findings) = place(&sent);
        assert!(away(&sent, &times)[0] <= 40, "{stood_ms}: {:?}", away(&sent, &times));
        assert_eq!((away(&sent, &times)[1], findings.jumps), (0, 1));
    }
}

#[test]
fn late_track_on_its_own_clock_is_placed_by_arrival() {
    let mut sent = stream(14);
    sent.retain(|packet| packet.track == Audio || packet.true_ms >= 2_500);
    let sent = bend(sent, |packet| packet.wire -= if packet.track == Video { 2_500 } else { 0 });
    let (times, _) = place(&sent);
    assert!(away(&sent, &times)[0] <= 40, "{:?}", away(&sent, &times));
}

#[test]
fn late_track_on_the_common_clock_keeps_its_times() {
    let mut sent = stream(14);
    sent.retain(|packet| packet.track == Audio || packet.true_ms >= 7_000);
    let (times, _) = place(&sent);
    assert_eq!(away(&sent, &times), [0, 0]);
}

#[test]
fn outlier_changes_no_other_packet() {
    for start in [0, 14_400_000] {
        let mut pictures = 0;
        let mut sent = stream(14);
        for packet in &mut sent {
            packet.wire += start;
            packet.true_ms += i64::from(start);
            if packet.track == Video {
                pictures += 1;
                if pictures % 60 == 31 {
                    let hours = if pictures % 120 == 31 { 9_800_000_u32 } else { 9_800_000_u32.wrapping_neg() };
                    packet.wire = packet.wire.wrapping_add(hours);
                }
            }
        }
        let (times, findings) = place(&sent);
        assert!(away(&sent, &times)[0] <= 1, "{:?}", away(&sent, &times));
        assert_eq!((away(&sent, &times)[1], findings.outliers, findings.jumps), (0, 7, 0));
    }
}

#[test]
fn packet_without_a_time_gets_the_newest_time_of_its_track() {
    let mut clock = Clock::default();
    // The outlier is placed one step after the previous picture; the next picture arrives earlier.
    for (wire, arrived_ms) in [(0, 0), (40, 40), (80, 80), (9_000_000, 120), (100, 160), (140, 200)] {
        let time = clock.place(Video, wire, arrived_ms);
        assert_eq!(clock.newest_of(Video), Some(time));
    }
}

#[test]
fn clock_change_while_streaming_leaves_no_hole_and_keeps_sync() {
    for jump_ms in [-900_i32, 8_000, -7_200_000, 3_600_000] {
        let sent = bend(stream(14), |packet| {
            if packet.true_ms > 6_000 {
                packet.wire = packet.wire.wrapping_add_signed(jump_ms);
            }
        });
        let (times, findings) = place(&sent);
        let [video, audio] = away(&sent, &times);
        assert!(video <= 40 && audio <= 40, "{jump_ms}: {video} {audio}");
        assert_eq!(findings.jumps, 1, "{jump_ms}: joint");
        let late: Vec<_> = sent.iter().zip(&times).filter(|(packet, _)| packet.true_ms > 7_000).collect();
        let offsets: Vec<_> = late.iter().map(|(packet, time)| **time - packet.true_ms).collect();
        assert!(offsets.iter().all(|offset| *offset == offsets[0]), "{jump_ms}: both tracks moved by the same amount");
    }
}

#[test]
fn real_pause_is_kept() {
    let mut sent = stream(40);
    sent.retain(|packet| !(8_000..25_000).contains(&packet.true_ms));
    let (times, findings) = place(&sent);
    assert_eq!(away(&sent, &times), [0, 0]);
    assert_eq!(findings.jumps, 0);
}

#[test]
fn network_stall_changes_no_times() {
    for (stall_ms, dropped) in [(5_000, 8_000..8_000), (5_000, 9_000..12_000), (1_500, 8_500..9_000)] {
        let mut sent = stream(40);
        sent.retain(|packet| !dropped.contains(&packet.true_ms));
        let sent = bend(sent, |packet| {
            if (8_000..8_000 + stall_ms).contains(&packet.arrived_ms) {
                packet.arrived_ms = 8_000 + stall_ms;
            }
        });
        let (times, findings) = place(&sent);
        assert_eq!(away(&sent, &times), [0, 0], "{stall_ms} {dropped:?}");
        assert_eq!((findings.jumps, findings.outliers), (0, 0));
    }
}

#[test]
fn presentation_times_sent_as_decode_times_are_unchanged() {
    let order = [0, 3, 1, 2];
    let wires: Vec<i64> = (0..200).flat_map(|n| order.map(|place| (4 * n + place) * 40)).collect();
    let mut clock = Clock::default();
    let times: Vec<_> = wires
        .iter()
        .enumerate()
        .map(|(n, &wire)| clock.place(Video, wire as u32, n as i64 * 40).as_ms())
        .collect();
    assert_eq!(times, wires);
}

#[test]
fn time_lapse_takes_the_time_of_its_arrival() {
    let mut clock = Clock::default();
    let times: Vec<_> = (0..8).map(|n| clock.place(Video, n * 5_000, i64::from(n) * 5_000).as_ms()).collect();
    assert_eq!(times, (0..8).map(|n| n * 5_000).collect::<Vec<_>>());
}

#[test]
fn drifting_clock_is_corrected_and_reported() {
    for percent in [-45, -4, 4, 20, 100] {
        let seconds = 150;
        let sent: Vec<_> = stream(seconds * 2)
            .into_iter()
            .map(|packet| {
                let arrived_ms = packet.arrived_ms * 100 / (100 + percent);
                Sent { arrived_ms, true_ms: arrived_ms, ..packet }
            })
            .filter(|packet| packet.arrived_ms < seconds * 1_000)
            .collect();
        let (times, findings) = place(&sent);
        let late: Vec<_> = sent.iter().zip(&times).filter(|(packet, _)| packet.arrived_ms > 120_000).collect();
        let off = |(packet, time): &(&Sent, &i64)| **time - packet.arrived_ms;
        let begins = if percent > 10 { off(&late[0]) } else { 0 };
        for pair in &late {
            assert!((off(pair) - begins).abs() <= 500, "{percent} %: {} ms off at {}", off(pair), pair.0.arrived_ms);
        }
        let found = findings.drift_percent.expect("is reported");
        assert!((found - percent as f64).abs() < 2.0 + (percent as f64 / 10.0).abs(), "{percent} %: found {found}");
        for track in [Video, Audio] {
            let own: Vec<_> = sent.iter().zip(&times).filter(|(p, _)| p.track == track).map(|(_, &t)| t).collect();
            assert!(own.is_sorted(), "{percent} %");
        }
    }
}

#[test]
fn returning_encoder_continues_after_the_elapsed_time() {
    let mut clock = Clock::default();
    clock.place(Video, 50_000, 1_000);
    clock.restart();
    assert_eq!(clock.place(Audio, 0, 3_000).as_ms(), 52_000);
    assert_eq!(clock.place(Video, 20, 3_010).as_ms(), 52_020);
    assert_eq!(clock.place(Video, 60, 3_050).as_ms(), 52_060);
}

#[test]
fn clock_change_while_a_track_is_missing_keeps_the_other_on_time() {
    let mut sent = stream(40);
    sent.retain(|packet| packet.track == Audio || !(9_976..18_564).contains(&packet.true_ms));
    let sent = bend(sent, |packet| {
        if packet.track == Video {
            packet.wire += 858;
            packet.true_ms += 858;
        }
        if packet.arrived_ms >= 15_258 {
            packet.wire = packet.wire.wrapping_sub(16_319_550);
        }
    });
    let (times, findings) = place(&sent);
    let [video, audio] = away(&sent, &times);
    assert!(video <= 40 && audio <= 40, "{video} {audio} {findings:?}");
}

#[test]
fn skew_is_kept_when_the_encoder_returns() {
    for first in [Video, Audio] {
        let mut clock = Clock::default();
        for n in 0..100 {
            clock.place(Video, n * 40, i64::from(n) * 40);
            clock.place(Audio, 1_300 + n * 40, i64::from(n) * 40);
        }
        clock.restart();
        // Three seconds after the last packets.
        let mut times = [(Video, 500), (Audio, 1_800)];
        times.sort_by_key(|(track, _)| *track != first);
        let placed = times.map(|(track, wire)| (track, clock.place(track, wire, 6_960).as_ms()));
        let of = |wanted| placed.iter().find(|(track, _)| *track == wanted).map(|(_, time)| *time);
        assert_eq!((of(Video), of(Audio)), (Some(6_960), Some(8_260)), "{first:?} first");
    }
}

/// How far a track goes back at most. Each step is a track, the timestamp step since its previous packet, and the
/// arrival step since the previous packet of any track.
fn sent_back(steps: &[(MainTrack, u32, i64)]) -> i64 {
    let (mut clock, mut arrived_ms, mut worst_ms) = (Clock::default(), 0, 0);
    let mut tracks: [(u32, Option<Timestamp>); 2] = Default::default();
    for &(track, step, later_ms) in steps {
        let (wire, newest) = &mut tracks[usize::from(track == Audio)];
        (*wire, arrived_ms) = (*wire + step, arrived_ms + later_ms);
        let time = clock.place(track, *wire, arrived_ms);
        worst_ms = worst_ms.max(newest.replace(time).map_or(0, |before| before.ms_since(time)));
    }
    worst_ms
}

#[test]
fn track_with_rising_timestamps_does_not_go_back() {
    let jumps_twice = [(Video, 40, 40), (Video, 4_096, 760), (Video, 76, 0), (Video, 2_432, 320)];
    assert_eq!(sent_back(&jumps_twice), 0);
    let begin = [(Video, 40, 20), (Audio, 40, 20), (Video, 40, 20), (Audio, 40, 20)];
    let jump_apart = [(Video, 10_000, 40), (Video, 40, 40), (Audio, 9_000, 0), (Audio, 40, 40)];
    assert_eq!(sent_back(&[begin, jump_apart].concat()), 0);
    let delayed = [(Video, 22, 900_000), (Video, 40_000, 30_000), (Audio, 7, 0), (Audio, 40_000, 0), (Audio, 20, 0)];
    assert_eq!(sent_back(&[&begin[..], &delayed].concat()), 0);
}

/// Everything that may happen to a stream on its way, combined.
#[derive(Clone, Debug)]
struct Bends {
    start: u32,
    skew_ms: i64,
    jump: Option<(i64, i32)>,
    outlier_every: usize,
    stall: Option<(i64, i64)>,
    jitter_ms: i64,
}

fn bends() -> impl Strategy<Value = Bends> {
    (
        prop_oneof![Just(0), any::<u32>()],
        -1_300_i64..1_300,
        prop::option::of((4_000_i64..20_000, prop_oneof![-20_000_000_i32..-700, 3_000_i32..20_000_000])),
        prop_oneof![Just(usize::MAX), 40_usize..200],
        prop::option::of((4_000_i64..20_000, 100_i64..3_000)),
        0_i64..60,
    )
        .prop_map(|(start, skew_ms, jump, outlier_every, stall, jitter_ms)| Bends {
            start,
            skew_ms,
            jump,
            outlier_every,
            stall,
            jitter_ms,
        })
}

proptest! {
    #[test]
    fn rising_timestamps_never_go_back(
        steps in prop::collection::vec(
            (
                prop::sample::select(vec![Video, Audio]),
                prop_oneof![0_u32..100, 0_u32..5_000, 0_u32..10_000_000],
                prop_oneof![0_i64..100, 0_i64..5_000, 0_i64..10_000_000],
            ),
            0..60,
        ),
    ) {
        let back_ms = sent_back(&steps);
        prop_assert!(back_ms <= REORDER_MS, "{back_ms}");
    }

    #[test]
    fn distorted_stream_keeps_its_duration(bends in bends()) {
        let mut sent = stream(26);
        for (n, packet) in sent.iter_mut().enumerate() {
            packet.wire = packet.wire.wrapping_add(bends.start);
            if let Some((at, by)) = bends.jump && packet.true_ms >= at {
                packet.wire = packet.wire.wrapping_add_signed(by);
            }
            if n % bends.outlier_every == 30 {
                packet.wire = packet.wire.wrapping_add(40_000_000);
            }
            let skew = if packet.track == Video { bends.skew_ms } else { 0 };
            packet.arrived_ms += 1_300 + skew + (n as i64 * 7_919) % (bends.jitter_ms + 1);
            if let Some((at, lasts)) = bends.stall && (at..at + lasts).contains(&packet.arrived_ms) {
                packet.arrived_ms = at + lasts;
            }
        }
        sent.sort_by_key(|packet| packet.arrived_ms);
        // Packets of a track arrive in order.
        for track in [Video, Audio] {
            let mut own: Vec<_> = sent.iter().filter(|p| p.track == track).copied().collect();
            own.sort_by_key(|packet| packet.true_ms);
            let mut own = own.into_iter();
            for packet in sent.iter_mut().filter(|p| p.track == track) {
                let arrived_ms = packet.arrived_ms;
                *packet = Sent { arrived_ms, ..own.next().expect("as many") };
            }
        }
        let (times, _) = place(&sent);
        for track in [Video, Audio] {
            let own: Vec<_> = sent.iter().zip(&times).filter(|(p, _)| p.track == track).map(|(_, &time)| time).collect();
            let falls = own.windows(2).map(|pair| pair[0] - pair[1]).max().unwrap_or(0);
            prop_assert!(falls <= REORDER_MS, "{track:?} falls by {falls} ms");
        }
        // True times, up to one constant: the encoder's start.
        let begin = times[0] - sent[0].true_ms;
        // Packets without a usable time are placed by arrival, which a stall delays.
        let by_arrival = 150 + bends.jitter_ms * 2 + bends.stall.map_or(0, |(_, lasts)| lasts);
        for (packet, &time) in sent.iter().zip(&times) {
            let is_outlier = packet.wire.wrapping_sub(bends.start).abs_diff(packet.true_ms as u32) > 30_000_000;
            let limit = if bends.jump.is_some() || is_outlier { by_arrival } else { 0 };
            let off = time - packet.true_ms - begin;
            prop_assert!(off.abs() <= limit, "{off} at {packet:?}");
        }
    }
}

/// Counts deviations of step times from the true ones, up to a constant, for a stream with a network or encoder
/// disturbance.
fn steps_changed(sent: &[Sent]) -> i64 {
    let (times, _) = place(sent);
    let off: Vec<_> = sent.iter().zip(&times).map(|(packet, time)| time - packet.true_ms).collect();
    off.iter().max().unwrap_or(&0) - off.iter().min().unwrap_or(&0)
}

#[test]
fn suspended_encoder_is_not_stretched() {
    // The encoder's clock stopped as well, so later packets are permanently late.
    for slept_ms in [800, 5_000] {
        let sent = bend(stream(90), |packet| packet.arrived_ms += if packet.true_ms >= 20_000 { slept_ms } else { 0 });
        let changed = steps_changed(&sent);
        assert_eq!(changed, 0, "{slept_ms}");
    }
}

#[test]
fn slow_start_that_catches_up_is_not_squeezed() {
    // A slow start: the first 6 s take 9 s to arrive, and the delay is made up by 15 s.
    let sent = bend(stream(90), |packet| {
        let ms = packet.true_ms;
        packet.arrived_ms = if ms < 6_000 {
            ms * 3 / 2
        } else if ms < 15_000 {
            9_000 + (ms - 6_000) * 2 / 3
        } else {
            ms
        };
    });
    assert_eq!(steps_changed(&sent), 0);
}

#[test]
fn temporary_congestion_changes_no_times() {
    // Half the rate for a while, then the backlog all at once.
    for seconds in [4, 8, 12, 20] {
        let end = 20_000 + seconds * 1_000;
        let sent = bend(stream(90), |packet| {
            let ms = packet.true_ms;
            if ms >= 20_000 {
                let narrow = ms + (ms - 20_000);
                packet.arrived_ms = if narrow < end { narrow } else { ms.max(end) };
            }
        });
        let changed = steps_changed(&sent);
        assert_eq!(changed, 0, "{seconds}");
    }
}

#[test]
fn drift_correction_keeps_the_tracks_in_sync() {
    // 4 % fast. Pictures have presentation times and pause twice.
    let sent: Vec<_> = stream(300)
        .into_iter()
        .filter(|p| {
            p.track == Audio || !(60_000..90_000).contains(&p.true_ms) && !(150_000..170_000).contains(&p.true_ms)
        })
        .map(|p| Sent { arrived_ms: p.arrived_ms * 100 / 104, ..p })
        .collect();
    let (times, _) = place(&sent);
    let apart = apart(&sent, &times);
    assert!(apart <= 40, "{apart}");
}

#[test]
fn tracks_with_different_errors_are_corrected_at_the_same_time() {
    // 4 % slow. The audio is placed by arrival after seven seconds, so its error is smaller than that of the pictures.
    let sent: Vec<_> = stream(150)
        .into_iter()
        .filter(|p| match p.track {
            Video => !(8_400..12_500).contains(&p.true_ms),
            Audio => !(10_100..17_400).contains(&p.true_ms),
        })
        .map(|p| Sent { wire: (p.true_ms * 96 / 100) as u32, ..p })
        .collect();
    let (times, _) = place(&sent);
    let apart = apart(&sent, &times);
    assert!(apart <= 320, "{apart}");
}

#[test]
fn drift_correction_keeps_reordered_pictures_in_sync() {
    let mut sent: Vec<_> = stream(200).into_iter().filter(|p| p.track == Audio).collect();
    for n in 0..200 * 25 / 4 {
        for (place, shown) in [0, 3, 1, 2].into_iter().enumerate() {
            let (arrived_ms, ms) = ((4 * n + place as i64) * 40, (4 * n + shown) * 40);
            sent.push(Sent { track: Video, wire: ms as u32, arrived_ms, true_ms: ms });
        }
    }
    let sent = bend(sent, |p| p.arrived_ms = p.arrived_ms * 100 / 104);
    let (times, _) = place(&sent);
    let apart = apart(&sent, &times);
    assert!(apart <= 40, "{apart}");
}

/// The largest distance between pictures and the audio that they arrive with, beyond the skew that was sent.
fn apart(sent: &[Sent], times: &[i64]) -> i64 {
    let (mut worst, mut audio) = (0, 0);
    for (packet, &time) in sent.iter().zip(times) {
        match packet.track {
            Audio => audio = time - packet.true_ms,
            Video => worst = worst.max((time - packet.true_ms - audio).abs()),
        }
    }
    worst
}

#[test]
fn small_drift_is_corrected_for_an_hour_with_jitter() {
    for per_mille in [-20, -3, 1, 5, 20] {
        let mut random = 1_u64;
        let mut arrived_ms = 0;
        let sent: Vec<_> = stream(3_600)
            .into_iter()
            .map(|packet| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let late = (random >> 40) as i64 % 120;
                arrived_ms = arrived_ms.max(packet.arrived_ms * 1_000 / (1_000 + per_mille) + late);
                Sent { arrived_ms, ..packet }
            })
            .collect();
        let (times, _) = place(&sent);
        let off = sent.iter().zip(&times).map(|(packet, time)| (time - packet.arrived_ms).abs()).max();
        assert!(off.is_some_and(|off| off <= 1_200), "{per_mille}: {off:?} ms off");
        let apart = apart(&sent, &times);
        assert!(apart <= 40, "{per_mille}: {apart} ms apart");
    }
}

/// A congested network: start, duration, and the share of the rate that it carries, in percent.
fn narrow() -> impl Strategy<Value = (i64, i64, i64)> {
    (0_i64..15_000, 500_i64..18_000, 0_i64..95)
}

/// A suspended encoder: start and duration. Durations close to the tolerance are excluded, since they may be corrected.
fn sleep() -> impl Strategy<Value = (i64, i64)> {
    (0_i64..150_000, prop_oneof![10_i64..80, 600_i64..8_000])
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn network_delays_change_no_times(
        narrows in prop::collection::vec(narrow(), 0..4),
        slept in prop::collection::vec(sleep(), 0..3),
        late_ms in 0_i64..1_500,
        jitter_ms in 1_i64..100,
    ) {
        let narrows: Vec<_> = (0..).zip(narrows).map(|(n, (at, lasts, rate))| (n * 50_000 + at, lasts, rate)).collect();
        let mut sent = stream(200);
        // Total bytes that could pass so far, in ms of the stream.
        let mut passed = 0.0;
        let mut random = 1_u64;
        let mut now = 0;
        for packet in &mut sent {
            let sleeps: i64 = slept.iter().filter(|(at, _)| packet.true_ms >= *at).map(|(_, lasts)| lasts).sum();
            let encoded = packet.true_ms + sleeps;
            now = now.max(encoded);
            while passed < packet.true_ms as f64 && now < 400_000 {
                let rate = narrows.iter().filter(|(at, lasts, _)| (*at..at + lasts).contains(&now));
                let rate = rate.map(|(_, _, percent)| *percent as f64 / 100.0).fold(5.0, f64::min);
                passed += rate * 5.0;
                now += 5;
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            packet.arrived_ms = now + late_ms + (random >> 40) as i64 % jitter_ms;
        }
        let mut newest = 0;
        sent.iter_mut().for_each(|packet| {
            newest = newest.max(packet.arrived_ms);
            packet.arrived_ms = newest;
        });
        // Deviations close to the tolerance may be corrected, by about as much.
        let changed = steps_changed(&sent);
        prop_assert!(changed <= 500, "{} ms", changed);
    }
}
