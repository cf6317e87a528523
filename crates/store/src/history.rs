//! The names of end reasons, states and legs in the history of streams.

use crate::words::words;

words! {
    /// Why a stream ended.
    pub enum EndReason {
        /// The encoder ended the stream.
        EncoderStopped = "encoder_stopped",
        /// The encoder's connection was lost, and the encoder did not return in time.
        EncoderLost = "encoder_lost",
        /// The encoder exceeded the bitrate limit for too long.
        TooFast = "too_fast",
        /// The owner ended the stream, deleted the project or replaced the stream key.
        EndedByOwner = "ended_by_owner",
        /// The server was stopped.
        ServerStopped = "server_stopped",
        /// The server process was killed.
        ServerKilled = "server_killed",
        /// The end of the stream was not recorded.
        NotRecorded = "not_recorded",
        /// The stream was recorded again before its end was written.
        Ended = "ended",
    }
}

words! {
    /// The state of a stream or relay from this event on, or a notice of the stream.
    pub enum EventState {
        /// The encoder sends, or the platform accepts the stream.
        Live = "live",
        /// Stream: the encoder is disconnected.
        Reconnecting = "reconnecting",
        /// Stream: it has ended.
        Ended = "ended",
        /// Stream: a notice for its owner.
        Notice = "notice",
        /// Relay: it is switched off.
        Off = "off",
        /// Relay: it waits for the encoder.
        Waiting = "waiting",
        /// Relay: it connects.
        Connecting = "connecting",
        /// Relay: it falls behind.
        Degraded = "degraded",
        /// Relay: no data can be sent.
        Stalled = "stalled",
        /// Relay: it waits before the next attempt.
        Backoff = "backoff",
        /// Relay: the platform rejected it.
        Rejected = "rejected",
    }
}

words! {
    /// The connection of a relay to its destination.
    pub enum Leg {
        /// The connection to the primary server.
        Primary = "primary",
        /// The connection to the backup server.
        Backup = "backup",
    }
}
