//! The actions of the audit log.

use crate::words::words;

words! {
    /// An action in the audit log.
    #[schema(as = AuditAction)]
    pub enum Action {
        /// The operator created the account.
        AccountAdded = "account_added",
        /// The account was created by signing up.
        Signup = "signup",
        /// A login with the right password.
        Login = "login",
        /// A login with a wrong password.
        LoginFailed = "login_failed",
        /// A user logged out.
        Logout = "logout",
        /// A session was ended by its owner.
        SessionEnded = "session_ended",
        /// All sessions were ended.
        SignedOutEverywhere = "signed_out_everywhere",
        /// The password was changed.
        PasswordChanged = "password_changed",
        /// An API token was created.
        TokenCreated = "token_created",
        /// An API token was revoked.
        TokenDeleted = "token_deleted",
        /// All API tokens were revoked.
        TokensDeleted = "tokens_deleted",
        /// All projects got new stream keys.
        StreamKeysRenewed = "stream_keys_renewed",
        /// A project was created.
        ProjectCreated = "project_created",
        /// A project was changed.
        ProjectChanged = "project_changed",
        /// The server that a project's stream is pulled from was changed.
        PullChanged = "pull_changed",
        /// A project was deleted.
        ProjectDeleted = "project_deleted",
        /// A project got a new stream key.
        StreamKeyRotated = "stream_key_rotated",
        /// A session was shown the stream key of a project for the first time.
        StreamKeyShown = "stream_key_shown",
        /// A project got a new playback id.
        PlaybackIdRotated = "playback_id_rotated",
        /// A stream was ended.
        StreamEnded = "stream_ended",
        /// A destination was added.
        DestinationAdded = "destination_added",
        /// A destination was changed.
        DestinationChanged = "destination_changed",
        /// A destination was deleted.
        DestinationDeleted = "destination_deleted",
        /// A destination was switched on.
        RelayStarted = "relay_started",
        /// A destination was switched off.
        RelayStopped = "relay_stopped",
        /// An immediate reconnect to a destination was requested.
        RelayRetried = "relay_retried",
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn names_in_the_api_equal_names_in_rows() {
        let schema = serde_json::to_value(Action::schema()).expect("is JSON");
        let words = schema["enum"].as_array().expect("is an enum");
        assert_eq!(words.len(), 26);
        for word in words {
            let action: Action = serde_json::from_value(word.clone()).expect("is one");
            assert_eq!(action.name(), word);
        }
    }
}
