//! The headers that readers need before any media, as of some packet.

use std::sync::Arc;

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    track::TrackId,
};

use super::entry::Entry;

/// Most announcements and side-track headers to keep. OBS sends one announcement and two or three side tracks.
const OTHERS_MAX: usize = 16;
/// The longest of them to keep, in bytes.
const OTHER_BYTES_MAX: usize = 16 * 1024;
/// Announcements are distinguished by their first bytes: wrapper and name.
const NAME_BYTES: usize = 48;

/// The newest header of each kind.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `onMetaData`.
    pub metadata: Option<Arc<Entry>>,
    /// The video codec header.
    pub video: Option<Arc<Entry>>,
    /// The video codec header for readers that package; RTMP outputs do not get it.
    learned: Option<Arc<Entry>>,
    /// The audio codec header.
    pub audio: Option<Arc<Entry>>,
    /// Announcements and side-track headers, in the order of their first arrival.
    others: Vec<Arc<Entry>>,
}

impl Headers {
    /// All headers in the order in which OBS and FFmpeg send them: metadata, announcements, video, audio, side tracks.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let is_announcement = |entry: &&Arc<Entry>| entry.packet.kind == PacketKind::Announcement;
        let announcements = self.others.iter().filter(is_announcement);
        let sides = self.others.iter().filter(move |entry| !is_announcement(entry));
        let codecs = [&self.video, &self.learned, &self.audio].into_iter().flatten();
        self.metadata.iter().chain(announcements).chain(codecs).chain(sides)
    }

    /// The current header that a header of `kind` would replace.
    pub fn of_kind(&self, kind: PacketKind) -> Option<&Arc<Entry>> {
        match kind {
            PacketKind::Metadata => self.metadata.as_ref(),
            PacketKind::VideoHeader => self.video.as_ref(),
            PacketKind::AudioHeader => self.audio.as_ref(),
            _ => None,
        }
    }

    /// Replaces the previous header of the same kind. Returns whether decoders have to be set up again.
    pub fn replace(&mut self, entry: &Arc<Entry>) -> bool {
        let slot = match entry.packet.kind {
            PacketKind::Metadata => &mut self.metadata,
            PacketKind::VideoHeader if entry.packet.flv.is_empty() => &mut self.learned,
            PacketKind::VideoHeader => {
                self.learned = None;
                &mut self.video
            }
            PacketKind::AudioHeader => &mut self.audio,
            _ => {
                self.keep_other(entry);
                return false;
            }
        };
        let before = slot.replace(Arc::clone(entry));
        let differs =
            |before: Arc<Entry>| before.packet.payload != entry.packet.payload || before.packet.flv != entry.packet.flv;
        entry.packet.kind != PacketKind::Metadata && before.is_some_and(differs)
    }

    fn keep_other(&mut self, entry: &Arc<Entry>) {
        if entry.packet.flv.len() > OTHER_BYTES_MAX {
            return;
        }
        let key = key(&entry.packet);
        if let Some(known) = self.others.iter_mut().find(|other| self::key(&other.packet) == key) {
            *known = Arc::clone(entry);
        } else if self.others.len() < OTHERS_MAX {
            self.others.push(Arc::clone(entry));
        }
    }
}

/// Identifies an announcement or a side track.
fn key(packet: &Packet) -> (PacketKind, TrackId, Bytes) {
    let name = match packet.kind {
        PacketKind::SideVideoHeader | PacketKind::SideAudioHeader => Bytes::new(),
        _ => packet.flv.slice(..packet.flv.len().min(NAME_BYTES)),
    };
    (packet.kind, packet.track, name)
}
