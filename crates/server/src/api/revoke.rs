//! What can be revoked together with the sessions of an account.

use gostream_store::Revoke;
use serde::Deserialize;
use utoipa::IntoParams;

/// What ends besides the sessions.
#[derive(Clone, Copy, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RevokeOptions {
    /// Whether every API token of the account ends as well; `true` by default.
    #[serde(default = "yes")]
    #[param(required = false, default = true)]
    pub(super) end_tokens: bool,
    /// Whether every project gets a new stream key; `false` by default. Encoders that use the old keys are
    /// disconnected.
    #[serde(default)]
    #[param(required = false, default = false)]
    pub(super) renew_stream_keys: bool,
}

/// The default of `end_tokens`: an intruder may have created tokens.
pub(super) const fn yes() -> bool {
    true
}

impl From<RevokeOptions> for Revoke {
    fn from(options: RevokeOptions) -> Self {
        Self { tokens: options.end_tokens, stream_keys: options.renew_stream_keys }
    }
}
