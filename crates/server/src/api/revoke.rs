//! What ends together with the sessions of an account.

use gostream_store::Revoke;
use serde::Deserialize;
use utoipa::IntoParams;

/// What ends besides sessions.
#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Also {
    /// Whether every API token of the account ends as well; `true` unless said.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    pub(super) end_tokens: bool,
    /// Whether every project gets a new stream key; `false` unless said. Encoders that send with the old ones are closed.
    #[serde(default)]
    #[param(required = false, default = false)]
    pub(super) renew_stream_keys: bool,
}

/// An intruder may have made tokens, so they end unless the request says otherwise.
pub(super) const fn yes() -> bool {
    true
}

impl From<Also> for Revoke {
    fn from(also: Also) -> Self {
        Self { tokens: also.end_tokens, stream_keys: also.renew_stream_keys }
    }
}
