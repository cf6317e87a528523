//! What a segment carries.

use std::sync::Arc;

use crate::codec::{aac, avc};

/// The codec headers in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tracks {
    /// The H.264 track.
    pub video: Option<Arc<avc::Config>>,
    /// The audio track.
    pub audio: Option<Audio>,
}

/// Audio that MPEG-TS carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audio {
    /// AAC, in ADTS frames.
    Aac(aac::Config),
    /// MP3, as it is.
    Mp3,
}
