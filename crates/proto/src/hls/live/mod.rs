//! Low-latency HLS (draft-pantos-hls-rfc8216bis) over fragmented MP4: one stream, from packets to playlists and files.
//!
//! [`Live`] takes packets and knows at any time what each file of the stream is. Nobody watches most streams, so a packet
//! costs a parsed tag and a place in a list; boxes and playlists are made when asked for. It never waits: an answer of
//! [`Answer::NotYet`] or [`Fetch::NotYet`] is for the caller to hold until [`Live::push`] says that something new is there,
//! and to give up on after three target durations ([`Live::hold_max_ms`]) with status 503 (section 6.2.5.2).
//!
//! Parts last about half a second. Their target duration is one constant for all streams, because a player that sees it
//! change stalls. A part ends before the first picture (without video: the first sound) from `PART_MS` on. When that comes
//! later than `PART_TARGET_MS`, the part ends there all the same, in the middle of a picture, so that none is longer than
//! announced nor shorter than 85 % of it. A stream whose first segment shows steps longer than `PART_GAP_MAX_MS` (slides)
//! has no parts: one could not be told in time.

mod answer;
mod name;
mod packager;
mod playlist;
mod segment;
mod stream;
mod timing;
mod window;

pub use answer::{Answer, Fetch};
pub use name::{File, MEDIA_NAME, MULTIVARIANT_NAME, Request};
pub use packager::Unsupported;
pub use stream::Live;
