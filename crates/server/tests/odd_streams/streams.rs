//! Streams that the browser tests play as well (`examples/odd_encoder.rs`).

use gostream_proto::rtmp::media::MediaKind;

use crate::{
    bend::{Item, Schedule, packed, video_header},
    clips::clip,
};

/// Duration of most streams, in ms.
pub const MS: u32 = 14_000;

/// An ordinary stream.
pub fn ordinary() -> Schedule {
    Schedule::of(&clip("base"), MS)
}

/// Pictures are sent that much later than the audio of the same time.
pub fn pictures_leave_late(late_ms: u32) -> Schedule {
    Schedule::of(&clip("base"), MS + late_ms)
        .only(|item| !item.is_video() || item.media.timestamp < MS)
        .each(|item| item.at_ms += if item.is_video() { f64::from(late_ms) } else { 0.0 })
}

/// B-frames with presentation times as tag times, and no composition times.
pub fn presentation_times() -> Schedule {
    Schedule::of(&clip("b-frames"), MS).each(|item| {
        if item.is_avc_picture() {
            let body = &item.media.body;
            let composition_ms = u32::from_be_bytes([0, body[2], body[3], body[4]]);
            item.media.timestamp += composition_ms;
            item.media.body = [&body[..2], &[0, 0, 0], &body[5..]].concat().into();
        }
    })
}

/// An empty NAL unit before and after those of each picture.
pub fn empty_nal_units() -> Schedule {
    const EMPTY: &[u8] = &[0; 4];
    Schedule::of(&clip("base"), MS).nal_units(|units, _| [EMPTY, &packed(&units), EMPTY].concat().into())
}

/// AAC 5.1 with channel configuration 0 and a program config element.
pub fn program_config_element() -> Schedule {
    Schedule::of(&clip("5.1-side"), MS)
}

/// MP3 with video.
pub fn mp3() -> Schedule {
    Schedule::of(&clip("mp3"), MS)
}

/// The audio pauses from 5 s to 15 s.
pub fn sound_pauses() -> Schedule {
    let is_gap = |ms: u32| (5_001..15_000).contains(&ms);
    Schedule::of(&clip("base"), 22_000).only(|item| !(item.is_audio() && is_gap(item.media.timestamp)))
}

/// Interlaced pictures.
pub fn interlaced() -> Schedule {
    Schedule::of(&clip("interlaced"), MS)
}

/// Landscape, portrait from 6 s on, landscape again from 10 s on; each with its own header.
pub fn turned_twice() -> Schedule {
    const TURNS_MS: [u32; 2] = [6_000, 10_000];
    let (landscape, portrait) = (clip("base"), clip("portrait"));
    let upright = Schedule::of(&portrait, TURNS_MS[1] - TURNS_MS[0]).only(Item::is_video).each(|item| {
        item.at_ms += f64::from(TURNS_MS[0]);
        item.media.timestamp += TURNS_MS[0];
    });
    let header = Item::new(TURNS_MS[1].into(), MediaKind::Video, TURNS_MS[1], video_header(&landscape));
    let mut items = Schedule::of(&landscape, 16_000)
        .only(|item| !item.is_video() || !(TURNS_MS[0]..TURNS_MS[1]).contains(&item.media.timestamp))
        .0;
    let turned_back = items.iter().position(|item| item.at_ms >= header.at_ms).expect("goes on");
    items.insert(turned_back, header);
    Schedule(items).and(upright.0)
}
