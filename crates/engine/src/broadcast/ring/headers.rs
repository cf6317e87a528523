//! What readers need before any media, as it is at some packet.

use std::sync::Arc;

use bytes::Bytes;
use gostream_proto::{
    packet::{Packet, PacketKind},
    track::TrackId,
};

use super::entry::Entry;

/// Announcements and headers of side tracks that are kept: OBS announces one thing and sends two or three side tracks.
const OTHERS_MAX: usize = 16;
/// The longest of them, in bytes.
const OTHER_BYTES_MAX: usize = 16 * 1024;
/// Announcements are told apart by what they begin with: wrapper and name.
const NAME_BYTES: usize = 48;

/// The newest of each header.
#[derive(Clone, Debug, Default)]
pub struct Headers {
    /// `onMetaData`.
    pub metadata: Option<Arc<Entry>>,
    /// The video codec header.
    pub video: Option<Arc<Entry>>,
    /// The video codec header that readers that package use instead; RTMP outputs do not get it.
    learned: Option<Arc<Entry>>,
    /// The audio codec header.
    pub audio: Option<Arc<Entry>>,
    /// Announcements and headers of side tracks, in the order in which they came first.
    others: Vec<Arc<Entry>>,
}

impl Headers {
    /// Metadata, announcements, video, audio, side tracks: the order in which OBS and FFmpeg send them.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let is_announcement = |entry: &&Arc<Entry>| entry.packet.kind == PacketKind::Announcement;
        let announcements = self.others.iter().filter(is_announcement);
        let sides = self.others.iter().filter(move |entry| !is_announcement(entry));
        let codecs = [&self.video, &self.learned, &self.audio].into_iter().flatten();
        self.metadata.iter().chain(announcements).chain(codecs).chain(sides)
    }

    /// The header that `kind` replaces.
    pub fn of_kind(&self, kind: PacketKind) -> Option<&Arc<Entry>> {
        match kind {
            PacketKind::Metadata => self.metadata.as_ref(),
            PacketKind::VideoHeader => self.video.as_ref(),
            PacketKind::AudioHeader => self.audio.as_ref(),
            _ => None,
        }
    }

    /// Takes the place of the one before it. Says whether decoders that were set up for that one have to be set up again.
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

/// What tells announcements and side tracks apart.
fn key(packet: &Packet) -> (PacketKind, TrackId, Bytes) {
    let name = match packet.kind {
        PacketKind::SideVideoHeader | PacketKind::SideAudioHeader => Bytes::new(),
        _ => packet.flv.slice(..packet.flv.len().min(NAME_BYTES)),
    };
    (packet.kind, packet.track, name)
}
