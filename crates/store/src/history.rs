//! The words of the history of streams.

use crate::words::words;

words! {
    /// Why a stream ended.
    pub enum EndReason {
        /// The encoder said goodbye.
        EncoderStopped = "encoder_stopped",
        /// The encoder dropped, and did not return in time.
        EncoderLost = "encoder_lost",
        /// The encoder sent more than it may, for too long.
        TooFast = "too_fast",
        /// The owner ended it, deleted the project or replaced the key.
        EndedByOwner = "ended_by_owner",
        /// The server was stopped.
        ServerStopped = "server_stopped",
        /// The server ended without a word.
        ServerKilled = "server_killed",
        /// The history missed the end.
        NotRecorded = "not_recorded",
        /// It began again before its end was written.
        Ended = "ended",
    }
}

words! {
    /// What began for a stream or for a relay: its state, or a notice of the stream.
    pub enum EventState {
        /// The encoder sends, or the platform takes the stream.
        Live = "live",
        /// Of a stream: the encoder is away.
        Reconnecting = "reconnecting",
        /// Of a stream: it is over.
        Ended = "ended",
        /// Of a stream: its owner should know something.
        Notice = "notice",
        /// Of a relay: it is not wanted.
        Off = "off",
        /// Of a relay: it waits for the encoder.
        Waiting = "waiting",
        /// Of a relay: it connects.
        Connecting = "connecting",
        /// Of a relay: it falls behind.
        Degraded = "degraded",
        /// Of a relay: nothing leaves.
        Stalled = "stalled",
        /// Of a relay: it waits before it tries again.
        Backoff = "backoff",
        /// Of a relay: the platform said no.
        Rejected = "rejected",
    }
}

words! {
    /// Which connection to a destination.
    pub enum Leg {
        /// To its server.
        Primary = "primary",
        /// To its backup server.
        Backup = "backup",
    }
}
