//! The outputs of a simulated stream, and their invariants.

use std::{collections::BTreeMap, sync::Arc};

use gostream_proto::{
    hls::low_latency::{File, PlaylistRequest},
    rtmp::media::MediaKind,
};

use super::bends::{Frame, Show, marks};
use crate::{
    broadcast::{
        Broadcast,
        subscription::{Delivery, Subscription},
    },
    outputs::hls::{Hls, Output, Served},
    rtmp::{
        feed::{Audience, Feed, Filled},
        origin::Origin,
    },
};

/// The beginning of broadcasts, in ms since 1970.
const BEGAN_MS: u64 = 1_700_000_000_000;
/// Allowed difference between media time and wall-clock time, in ms.
const WALL_MS: i64 = 500;
/// Allowed change of the offset between the tracks, in ms.
const SYNC_MS: i64 = 100;

/// A destination and both forms of HLS.
pub(super) struct Outputs {
    broadcast: Arc<Broadcast>,
    feed: Feed,
    connections: usize,
    arrived: Vec<Arrived>,
    output: Arc<Output>,
    hls: Hls,
    subscription: Subscription,
    classic: Playlist,
    live: Playlist,
}

/// A frame that the destination received.
#[derive(Clone, Copy, Debug)]
struct Arrived {
    number: u32,
    is_video: bool,
    timestamp_ms: i64,
}

/// Everything that a playlist has listed.
#[derive(Default)]
struct Playlist {
    targets: Vec<u64>,
    /// Duration in ms and bytes of segments, by number.
    segments: BTreeMap<u64, (u64, Vec<u8>)>,
}

/// Everything that the outputs produced.
pub(super) struct Played {
    connections: usize,
    arrived: Vec<Arrived>,
    classic: Playlist,
    live: Playlist,
}

fn feed(broadcast: &Arc<Broadcast>) -> Feed {
    Feed::new(Subscription::new(broadcast, Delivery::Batched), Audience::Platform, Origin::default())
}

impl Outputs {
    pub(super) fn new(broadcast: &Arc<Broadcast>) -> Self {
        let output = Arc::new(Output::new(std::time::UNIX_EPOCH));
        Self {
            broadcast: Arc::clone(broadcast),
            feed: feed(broadcast),
            connections: 1,
            arrived: Vec::new(),
            hls: Hls::new(Arc::clone(&output)),
            subscription: Subscription::new(broadcast, Delivery::Batched),
            output,
            classic: Playlist::default(),
            live: Playlist::default(),
        }
    }

    /// Both readers read all available packets.
    pub(super) fn read(&mut self) {
        self.broadcast.wake_readers();
        let Self { feed, arrived, .. } = self;
        let filled = feed.fill(usize::MAX, |media| {
            let is_video = media.kind == MediaKind::Video;
            let frame = |number| Arrived { number, is_video, timestamp_ms: media.timestamp.into() };
            arrived.extend(marks(media.payload).map(frame));
        });
        if filled == Filled::HeadersChanged {
            self.feed = self::feed(&self.broadcast);
            self.connections += 1;
        }
        if self.hls.read(&mut self.subscription, BEGAN_MS) {
            self.read_playlists();
        }
    }

    fn read_playlists(&mut self) {
        let Self { output, classic, live, .. } = self;
        if let Some(text) = output.playlist("s") {
            let number = |name: &str| name.strip_prefix("s-")?.strip_suffix(".ts")?.parse().ok();
            let bytes = |n| output.segment(n).map(|bytes| bytes.to_vec());
            classic.take(&String::from_utf8_lossy(&text), number, bytes);
        }
        if let Some(Served::Playlist(text)) = output.response(File::Media, &PlaylistRequest::default()) {
            let bytes = |n| match output.response(File::Segment(n), &PlaylistRequest::default()) {
                Some(Served::Media(pieces)) => Some(pieces.concat()),
                _ => None,
            };
            live.take(&text, |name| name.strip_suffix(".m4s")?.parse().ok(), bytes);
        }
    }

    pub(super) fn finish(mut self) -> Played {
        let next = Hls::new(Arc::clone(&self.output));
        std::mem::replace(&mut self.hls, next).finish(&self.broadcast);
        self.read_playlists();
        let Self { connections, arrived, classic, live, .. } = self;
        Played { connections, arrived, classic, live }
    }
}

impl Playlist {
    fn take(&mut self, text: &str, number: impl Fn(&str) -> Option<u64>, bytes: impl Fn(u64) -> Option<Vec<u8>>) {
        let mut duration_ms = 0;
        for line in text.lines() {
            if let Some(target) = line.strip_prefix("#EXT-X-TARGETDURATION:") {
                self.targets.push(target.parse().expect("is a number"));
            } else if let Some(seconds) = line.strip_prefix("#EXTINF:") {
                let seconds: f64 = seconds.trim_end_matches(',').parse().expect("is a number");
                duration_ms = (seconds * 1_000.0).round() as u64;
            } else if let Some(number) = Some(line).filter(|line| !line.starts_with('#')).and_then(&number) {
                self.segments.entry(number).or_insert_with(|| (duration_ms, bytes(number).expect("is listed")));
            }
        }
    }

    fn check(&self, show: &Show, name: &str) -> Result<(), String> {
        let target = *self.targets.first().ok_or_else(|| format!("{name}: no playlist"))?;
        if self.targets.iter().any(|other| *other != target) {
            return Err(format!("{name}: the target duration changes: {:?}", self.targets));
        }
        let durations: Vec<_> = self.segments.values().map(|(ms, _)| *ms).collect();
        if durations.iter().any(|ms| (ms + 500) / 1_000 > target) {
            return Err(format!("{name}: a segment is longer than {target} s: {durations:?}"));
        }
        // Of a pause, at most one segment's length is listed.
        let listed_ms = durations.iter().sum::<u64>() as i64;
        let (wall_ms, away_ms) = (show.bends.seconds * 1_000 + show.bends.late_ms, show.away_ms());
        let least_ms = wall_ms - away_ms - WALL_MS - show.bends.late_ms;
        let most_ms = wall_ms + WALL_MS + show.stalled_return_ms();
        if !(least_ms..=most_ms).contains(&listed_ms) {
            return Err(format!("{name}: {listed_ms} ms are listed of {wall_ms}, {away_ms} away: {durations:?}"));
        }
        let numbers: Vec<_> = self.segments.values().flat_map(|(_, bytes)| marks(bytes)).collect();
        complete(&numbers, show, name).map_err(|wrong| {
            let first = |bytes: &[u8]| marks(bytes).next();
            let segments = self.segments.values().map(|(ms, bytes)| (*ms, first(bytes), marks(bytes).count()));
            format!("{wrong}; segments: {:?}", segments.collect::<Vec<_>>())
        })
    }
}

/// Every picture exists exactly once; the newest may still be held.
fn complete(numbers: &[u32], show: &Show, name: &str) -> Result<(), String> {
    let is_picture = |number: &u32| show.frames[*number as usize].is_video;
    let mut pictures: Vec<_> = numbers.iter().copied().filter(is_picture).collect();
    pictures.sort_unstable();
    if let Some(pair) = pictures.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("{name}: picture {} is there twice", pair[0]));
    }
    let sent = (0..).zip(&show.frames).filter(|(_, frame)| frame.is_video && frame.is_sent);
    let sent: Vec<u32> = sent.map(|(number, _)| number).collect();
    let is_missing = |number: &&u32| pictures.binary_search(number).is_err();
    let missing: Vec<_> = sent[..sent.len() - 1].iter().filter(is_missing).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (first, last) = (missing.first(), missing.last());
    Err(format!("{name}: {} of {} pictures are missing: {first:?} to {last:?}", missing.len(), sent.len()))
}

impl Played {
    pub(super) fn check(&self, show: &Show) -> Result<(), String> {
        if self.connections > 1 {
            return Err(format!("{} connections, and no header changed", self.connections));
        }
        let numbers: Vec<_> = self.arrived.iter().map(|arrived| arrived.number).collect();
        complete(&numbers, show, "destination")?;
        for is_video in [true, false] {
            let track: Vec<_> = self.arrived.iter().filter(|arrived| arrived.is_video == is_video).copied().collect();
            falls(&track, show)?;
            lasts(&track, show)?;
        }
        in_sync(&self.arrived, show)?;
        self.classic.check(show, "classic")?;
        self.live.check(show, "low latency")
    }
}

fn frame(arrived: &Arrived, show: &Show) -> Frame {
    show.frames[arrived.number as usize]
}

/// Times never fall, except for pictures sent with presentation times.
fn falls(track: &[Arrived], show: &Show) -> Result<(), String> {
    if show.bends.reordered && track.first().is_some_and(|arrived| arrived.is_video) {
        return Ok(());
    }
    let fall = track.windows(2).find(|pair| pair[1].timestamp_ms < pair[0].timestamp_ms);
    fall.map_or(Ok(()), |pair| Err(format!("destination: a time falls: {pair:?}")))
}

/// A track is as long as the time in which it arrived.
fn lasts(track: &[Arrived], show: &Show) -> Result<(), String> {
    let (Some(first), Some(last)) = (track.first(), track.last()) else { return Err("nothing arrived".to_owned()) };
    let media_ms = last.timestamp_ms - first.timestamp_ms;
    let wall_ms = frame(last, show).arrived_ms - frame(first, show).arrived_ms;
    if (media_ms - wall_ms).abs() <= WALL_MS + 2 * show.bends.jitter_ms + show.stalled_return_ms() {
        return Ok(());
    }
    Err(format!("destination: {media_ms} ms of media in {wall_ms} ms: {first:?} to {last:?}"))
}

/// The offset between the tracks stays as it was sent.
fn in_sync(arrived: &[Arrived], show: &Show) -> Result<(), String> {
    let place = |arrived: &Arrived| arrived.timestamp_ms - frame(arrived, show).at_ms;
    let reordering = if show.bends.reordered { 3_000 / show.bends.fps } else { 0 };
    let allowed = SYNC_MS + reordering + 2 * show.bends.jitter_ms + show.drifted_ms();
    let (mut at_first, mut sound) = (None, None);
    for packet in arrived.iter().filter(|packet| !show.is_doubtful(&frame(packet, show))) {
        if !packet.is_video {
            sound = Some(packet);
            continue;
        }
        // Only audio captured at about the same time is compared.
        let near = |sound: &&Arrived| (frame(sound, show).at_ms - frame(packet, show).at_ms).abs() < 300;
        let Some(sound) = sound.filter(near) else { continue };
        let apart = place(packet) - place(sound);
        let first = *at_first.get_or_insert(apart);
        if (apart - first).abs() > allowed {
            return Err(format!("destination: tracks {first} ms apart are {apart} ms apart: {sound:?} {packet:?}"));
        }
    }
    Ok(())
}
