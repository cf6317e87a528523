//! Notices about a stream in the API.

use gostream_engine::status;
use serde::Serialize;
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::moment::wall;

/// A notice about the incoming stream: something was repaired or left out, cannot be previewed, or is too slow.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(in crate::api) struct Notice {
    /// A stable code for programs.
    #[schema(example = "clock_drift")]
    code: &'static str,
    /// The observation and its remedy.
    message: String,
    /// When it was first observed.
    #[serde(with = "time::serde::rfc3339")]
    since: OffsetDateTime,
}

impl From<&status::Notice> for Notice {
    fn from(notice: &status::Notice) -> Self {
        Self { code: notice.code, message: notice.message.clone(), since: wall(notice.since) }
    }
}
