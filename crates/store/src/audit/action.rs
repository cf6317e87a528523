//! What the audit log calls what was done.

use crate::words::words;

words! {
    /// What was done.
    #[schema(as = AuditAction)]
    pub enum Action {
        /// The operator made the account.
        AccountAdded = "account_added",
        /// The account was made by signing up.
        Signup = "signup",
        /// A login with the right password.
        Login = "login",
        /// A login with a wrong password.
        LoginFailed = "login_failed",
        /// A session ended itself.
        Logout = "logout",
        /// One session was ended.
        SessionEnded = "session_ended",
        /// All sessions were ended.
        SignedOutEverywhere = "signed_out_everywhere",
        /// There is a new password.
        PasswordChanged = "password_changed",
        /// There is a new API token.
        TokenCreated = "token_created",
        /// An API token was ended.
        TokenDeleted = "token_deleted",
        /// All API tokens were ended.
        TokensDeleted = "tokens_deleted",
        /// All projects got new stream keys.
        StreamKeysRenewed = "stream_keys_renewed",
        /// There is a new project.
        ProjectCreated = "project_created",
        /// A project was changed.
        ProjectChanged = "project_changed",
        /// The server that a project's stream is pulled from was changed.
        PullChanged = "pull_changed",
        /// A project was deleted.
        ProjectDeleted = "project_deleted",
        /// A project got a new stream key.
        StreamKeyRotated = "stream_key_rotated",
        /// A login saw the key of a project for the first time.
        StreamKeyShown = "stream_key_shown",
        /// A project got a new playback id.
        PlaybackIdRotated = "playback_id_rotated",
        /// A stream was ended.
        StreamEnded = "stream_ended",
        /// There is a new destination.
        DestinationAdded = "destination_added",
        /// A destination was changed.
        DestinationChanged = "destination_changed",
        /// A destination was deleted.
        DestinationDeleted = "destination_deleted",
        /// A destination was switched on.
        RelayStarted = "relay_started",
        /// A destination was switched off.
        RelayStopped = "relay_stopped",
        /// A destination should try again at once.
        RelayRetried = "relay_retried",
    }
}

#[cfg(test)]
mod tests {
    use utoipa::PartialSchema as _;

    use super::*;

    #[test]
    fn every_word_of_the_api_is_the_word_of_a_row() {
        let schema = serde_json::to_value(Action::schema()).expect("is JSON");
        let words = schema["enum"].as_array().expect("is an enum");
        assert_eq!(words.len(), 26);
        for word in words {
            let action: Action = serde_json::from_value(word.clone()).expect("is one");
            assert_eq!(action.name(), word);
        }
    }
}
