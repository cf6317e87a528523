//! FLV tags (Adobe FLV 10.1 annex E.4) and their Enhanced RTMP v2 forms: the bodies of RTMP audio and video messages.

pub mod audio;
mod enhanced;
pub mod file;
mod normaliser;
mod tag;
mod track;
pub mod video;

pub use audio::AudioTag;
pub use normaliser::{Normaliser, Oddities, Stamped};
pub use tag::{Content, Error, MAIN_TRACK};
pub use track::{audio_packet, video_packet};
pub use video::VideoTag;
