//! Failures of connections to other servers, each with a retry schedule, a stable code and a sentence for the user.

use gostream_proto::rtmp::{auth, client::Step};
use gostream_tcp::TcpInfo;

use super::{certificate::CertificateProblem, mtu::loses_large_packets};
use crate::{backoff::Schedule, status::RelayError};

/// Why a connection failed or ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// The name has no address.
    #[error("The server name {host} cannot be found. Check the URL for a typing mistake.")]
    Dns {
        /// The name.
        host: String,
    },
    /// No name server answers, or none is configured.
    #[error(
        "The name server of this machine does not answer, so the address of {host} is not known. The lookup is \
         repeated automatically; if it keeps failing, the operator has to check the name service (DNS) of this \
         machine."
    )]
    NoNameServer {
        /// The name.
        host: String,
    },
    /// The account resolves its maximum number of names.
    #[error("This account is looking up too many server names at once. {host} is looked up again automatically.")]
    TooManyLookups {
        /// The name.
        host: String,
    },
    /// Every address is in a network that relays may not reach.
    #[error(
        "{host} is in a private network, or is this server itself, and no stream is sent to or taken from there. The \
         operator can allow it with `egress.allow`."
    )]
    Forbidden {
        /// The name.
        host: String,
    },
    /// The port is not one that relays may reach.
    #[error(
        "Relays do not connect to port {port}: below 1024, only ports 80 and 443 are allowed. Check the URL; the \
         operator can allow the address of {host} with `egress.allow`."
    )]
    ForbiddenPort {
        /// The name.
        host: String,
        /// The port.
        port: u16,
    },
    /// The connection was refused.
    #[error("{host} refused the connection. Check server and port; it may be down.")]
    ConnectionRefused {
        /// Name and port.
        host: String,
    },
    /// No answer, or no route.
    #[error("{host} does not answer. Check server and port; a firewall may be in the way.")]
    Unreachable {
        /// Name and port.
        host: String,
    },
    /// The certificate is not accepted.
    #[error("{}", .problem.sentence(.host))]
    Certificate {
        /// The name.
        host: String,
        /// Why.
        problem: CertificateProblem,
    },
    /// TLS failed for another reason; most often the port is plain RTMP.
    #[error("No secure connection to {host}. If you were given a rtmp:// URL, use that instead of rtmps://.")]
    Tls {
        /// The name.
        host: String,
    },
    /// The server closed or sent something else during the handshake; most often the port is TLS.
    #[error("{host} does not speak RTMP on this port. If you were given a rtmps:// URL, use that instead of rtmp://.")]
    NotRtmp {
        /// The name.
        host: String,
    },
    /// No answer to a command in time.
    #[error(
        "{host} accepted the connection but did not let us publish in time. The platform may be overloaded; if this \
         repeats, check the server URL."
    )]
    NoAnswer {
        /// The name.
        host: String,
    },
    /// Small packets arrive, large ones are lost.
    #[error(
        "Large packets do not get to {host}: it accepts the connection, but packets of more than some hundred bytes \
         are lost on the way. Most often a link on the path has a smaller MTU (VPN, PPPoE, a cloud network): lower the \
         MTU of this server's network interface, for example to 1400, or set `net.ipv4.tcp_mtu_probing` to 1."
    )]
    LargePacketsLost {
        /// The name.
        host: String,
    },
    /// Each server redirects to another one, or to itself.
    #[error(
        "{host} redirects in a loop: each server redirects to another one, and none accepts the connection. Check the \
         URL; if it is right, the operator of {host} has to repair it."
    )]
    RedirectLoop {
        /// The name in the URL.
        host: String,
    },
    /// The platform refused `connect` or `createStream`.
    #[error("The platform refused the connection{}. Check the server URL.", quoted(.answer))]
    ConnectRejected {
        /// Its answer.
        answer: Answer,
    },
    /// The platform asks for a user name and password (Adobe authentication), or refused them.
    #[error(
        "The platform requires the right user name and password. Put them into the server URL: \
         rtmp://user:password@server/app."
    )]
    LoginRejected,
    /// The platform refused the key.
    #[error("The platform refused the stream key{}. Copy it again from the platform and save it here.", quoted(.answer))]
    KeyRejected {
        /// Its answer.
        answer: Answer,
    },
    /// The key is in use.
    #[error(
        "The platform says that this stream key is already in use{}. Stop other encoders that use it, or wait until \
         the platform ends the old session.",
        quoted(.answer)
    )]
    KeyInUse {
        /// Its answer.
        answer: Answer,
    },
    /// The platform reported an error while live.
    #[error(
        "The platform ended the stream{}. GoStream connects again automatically; the platform's own page may say more.",
        quoted(.answer)
    )]
    EndedByPlatform {
        /// Its answer.
        answer: Answer,
    },
    /// The connection closed or broke while live.
    #[error(
        "The connection to {host} was lost. GoStream connects again automatically. If it happens often, check your \
         network and the platform's status page."
    )]
    ConnectionLost {
        /// The name.
        host: String,
    },
    /// Closed within seconds of starting, several times running.
    #[error(
        "{host} closes the connection right after the stream starts. Most often the stream key is wrong, or the stream \
         is above the platform's limits (resolution, bitrate, codec)."
    )]
    ClosedEarly {
        /// The name.
        host: String,
    },
    /// The platform acknowledges no bytes.
    #[error(
        "{host} stopped receiving data. GoStream connects again automatically. If it happens often, lower the bitrate \
         in your encoder or choose a nearer server."
    )]
    Stalled {
        /// The name.
        host: String,
    },
    /// The platform redirected from TLS to a server without TLS.
    #[error(
        "{host} redirected to a server without encryption, which would expose the stream key. If that is intended, use \
         its rtmp:// URL."
    )]
    InsecureRedirect {
        /// The name.
        host: String,
    },
    /// The encoder came back with another codec configuration.
    #[error("The encoder's video or audio format changed; GoStream connects again.")]
    FormatChanged,
    /// The platform asked for another connection.
    #[error("The platform asked for another connection.")]
    Moved,
}

/// What a platform answered when it refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// `NetStream.Publish.BadName`, ...
    pub code: String,
    /// The platform's own sentence.
    pub description: String,
}

/// The answer in brackets and quotes; empty if there is none.
pub(crate) fn quoted(answer: &Answer) -> String {
    let words = if answer.description.is_empty() { &answer.code } else { &answer.description };
    if words.is_empty() { String::new() } else { format!(" (\u{201c}{}\u{201d})", words.trim().trim_end_matches('.')) }
}

impl Failure {
    /// The failure that a refusal means, by step and code.
    pub fn from_refusal(step: Step, code: String, description: String) -> Self {
        let last = code.rsplit('.').next().unwrap_or_default().to_owned();
        let answer = Answer { code, description };
        match (step, last.as_str()) {
            (Step::Running, _) => Self::EndedByPlatform { answer },
            (_, "BadName") => Self::KeyInUse { answer },
            (Step::Connect, _) if auth::is_about_login(&answer.description) => Self::LoginRejected,
            (Step::Start, _) => Self::KeyRejected { answer },
            (Step::Connect | Step::CreateStream, _) => Self::ConnectRejected { answer },
        }
    }

    /// The schedule of waits before the next attempt.
    pub fn schedule(&self) -> Schedule {
        match self {
            Self::KeyRejected { .. }
            | Self::ConnectRejected { .. }
            | Self::LoginRejected
            | Self::ClosedEarly { .. }
            | Self::InsecureRedirect { .. }
            | Self::Forbidden { .. }
            | Self::ForbiddenPort { .. } => Schedule::Refusal,
            Self::KeyInUse { .. } => Schedule::Busy,
            _ => Schedule::Trouble,
        }
    }

    /// The stable code.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Dns { .. } => "dns",
            Self::NoNameServer { .. } => "no_name_server",
            Self::TooManyLookups { .. } => "too_many_lookups",
            Self::Forbidden { .. } => "address_forbidden",
            Self::ForbiddenPort { .. } => "port_forbidden",
            Self::ConnectionRefused { .. } => "connection_refused",
            Self::Unreachable { .. } => "unreachable",
            Self::Certificate { .. } => "certificate",
            Self::Tls { .. } => "tls",
            Self::NotRtmp { .. } => "not_rtmp",
            Self::NoAnswer { .. } => "no_answer",
            Self::LargePacketsLost { .. } => "large_packets_lost",
            Self::RedirectLoop { .. } => "redirect_loop",
            Self::ConnectRejected { .. } => "connect_rejected",
            Self::LoginRejected => "login_rejected",
            Self::KeyRejected { .. } => "key_rejected",
            Self::KeyInUse { .. } => "key_in_use",
            Self::EndedByPlatform { .. } => "ended_by_platform",
            Self::ConnectionLost { .. } => "connection_lost",
            Self::ClosedEarly { .. } => "closed_early",
            Self::Stalled { .. } => "stalled",
            Self::InsecureRedirect { .. } => "insecure_redirect",
            Self::FormatChanged => "format_changed",
            Self::Moved => "moved",
        }
    }

    /// This failure, or [`Failure::LargePacketsLost`] if TCP statistics show that: then the server did not answer
    /// because it never received the request.
    pub(crate) fn unless_large_packets_are_lost(self, info: Option<TcpInfo>, host: &str) -> Self {
        let lost = info.is_some_and(|info| loses_large_packets(&info));
        if lost { Self::LargePacketsLost { host: host.to_owned() } } else { self }
    }

    /// The failure for the status.
    pub fn for_status(&self) -> RelayError {
        RelayError { code: self.code(), message: self.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_distinguished_by_step_and_code() {
        for (step, code, expected, schedule) in [
            (Step::Connect, "NetConnection.Connect.Rejected", "connect_rejected", Schedule::Refusal),
            (Step::Start, "NetStream.Publish.BadName", "key_in_use", Schedule::Busy),
            (Step::Start, "NetStream.Publish.Denied", "key_rejected", Schedule::Refusal),
            (Step::Start, "", "key_rejected", Schedule::Refusal),
            (Step::Running, "NetStream.Failed", "ended_by_platform", Schedule::Trouble),
        ] {
            let failure = Failure::from_refusal(step, code.to_owned(), String::new());
            assert_eq!((failure.code(), failure.schedule()), (expected, schedule), "{step:?} {code}");
        }
    }

    #[test]
    fn sentence_quotes_the_platform() {
        let failure =
            Failure::from_refusal(Step::Start, "NetStream.Publish.Denied".to_owned(), "No such key.".to_owned());
        assert_eq!(
            failure.to_string(),
            "The platform refused the stream key (\u{201c}No such key\u{201d}). Copy it again from the platform and \
             save it here."
        );
    }
}
