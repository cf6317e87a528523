//! Low-latency HLS (draft-pantos-hls-rfc8216bis) over fragmented MP4: one stream, from packets to playlists and files.
//!
//! [`LowLatencyStream`] takes packets and can return every file of the stream at any time. Most streams have no
//! viewers, so a packet costs one tag parse and one list entry; boxes and playlists are built on request. It never
//! waits: on [`PlaylistResponse::NotYet`] or [`FileResponse::NotYet`] the caller holds the request until
//! [`LowLatencyStream::push`] reports a change, and gives up after three target durations
//! ([`LowLatencyStream::hold_max_ms`]) with status 503 (section 6.2.5.2).
//!
//! Parts last about half a second. Their target duration is the same constant for all streams, because a player stalls
//! when it changes. A part ends before the first picture (without video: the first audio frame) from `PART_MS` on. If
//! that comes later than `PART_TARGET_MS`, the part ends at `PART_TARGET_MS`, within a picture, so that no part is
//! longer than announced or shorter than 85 % of it. A stream whose first segment has steps longer than
//! `PART_GAP_MAX_MS` (slides) has no parts: a part could not be published in time.

mod packager;
mod playlist;
mod request;
mod response;
mod segment;
mod stream;
mod timing;
mod window;

pub use packager::Unsupported;
pub use request::{File, MEDIA_NAME, MULTIVARIANT_NAME, PlaylistRequest};
pub use response::{FileResponse, PlaylistResponse};
pub use stream::LowLatencyStream;
