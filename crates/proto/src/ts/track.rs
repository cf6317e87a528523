//! The tracks of a segment.

use std::sync::Arc;

use crate::codec::{aac, avc};

/// The current codec headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The H.264 track.
    pub video: Option<Arc<avc::Config>>,
    /// The audio track.
    pub audio: Option<Audio>,
}

/// Audio codecs that MPEG-TS carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// AAC, in ADTS frames.
    Aac(aac::Config),
    /// MP3, unchanged.
    Mp3,
}
