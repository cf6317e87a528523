//! Errors of a pull, as sentences for its owner.

use crate::{
    admission::Refusal,
    rtmp::error::{Answer, Failure, quoted},
    show::seat::Denied,
    status::RelayError,
};

/// The error for a failed connection. Failures that relays share have the same sentence.
pub(super) fn of(failure: &Failure) -> RelayError {
    let refused = |answer: &Answer| {
        let quoted = quoted(answer);
        format!("The server does not let GoStream play the stream{quoted}. Check which addresses it allows to play.")
    };
    let (code, message) = match failure {
        Failure::KeyRejected { answer } | Failure::KeyInUse { answer } => ("play_refused", refused(answer)),
        Failure::EndedByPlatform { answer } => (
            failure.code(),
            format!("The server ended the stream{}. GoStream connects again automatically.", quoted(answer)),
        ),
        Failure::ConnectRejected { answer } => {
            let message = format!("The server refused the connection{}. Check the URL to pull from.", quoted(answer));
            (failure.code(), message)
        }
        Failure::LoginRejected => {
            let message = "The server requires the right user name and password. Put them into the URL: \
                           rtmp://user:password@server/app.";
            (failure.code(), message.to_owned())
        }
        Failure::NoAnswer { host } => {
            let message = format!("{host} accepted the connection but does not answer. Check the URL to pull from.");
            (failure.code(), message)
        }
        Failure::ConnectionLost { host } => {
            (failure.code(), format!("The connection to {host} was lost. GoStream connects again automatically."))
        }
        Failure::Moved => (failure.code(), "The server asked to connect again.".to_owned()),
        other => return other.for_status(),
    };
    RelayError { code, message }
}

/// The error when this server does not accept the stream.
pub(super) fn denied(denied: Denied) -> RelayError {
    let code = match denied {
        Denied::Refused(Refusal::UnknownKey) => "unknown_stream_key",
        Denied::Refused(Refusal::TooMany) => "quota_exceeded",
        Denied::Refused(Refusal::Unavailable) => "unavailable",
        Denied::TooFast(_) => "too_fast",
        Denied::TooOften(_) => "too_often",
        Denied::Occupied => "occupied",
    };
    RelayError { code, message: denied.sentence() }
}

/// The owner ended the stream here, and it continues upstream.
pub(super) fn ended_by_owner() -> RelayError {
    let message = "You ended this stream here, but it continues at the other server. It is pulled again once it starts again there.";
    RelayError { code: "ended_by_owner", message: message.to_owned() }
}

#[cfg(test)]
mod tests {
    use gostream_proto::rtmp::client::Step;

    use super::*;
    use crate::rtmp::certificate::CertificateProblem;

    #[test]
    fn sentences_do_not_mention_platforms() {
        let (host, clock) = (|| "h".to_owned(), rustls::pki_types::UnixTime::now());
        let certificate = |problem| Failure::Certificate { host: host(), problem };
        let refusal = |step| Failure::from_refusal(step, "NetStream.Play.Failed".to_owned(), "Not you.".to_owned());
        for failure in [
            refusal(Step::Connect),
            refusal(Step::Start),
            refusal(Step::Running),
            Failure::LoginRejected,
            Failure::NoAnswer { host: host() },
            Failure::LargePacketsLost { host: host() },
            Failure::ConnectionLost { host: host() },
            Failure::Forbidden { host: host() },
            Failure::Dns { host: host() },
            Failure::NoNameServer { host: host() },
            Failure::ConnectionRefused { host: host() },
            Failure::Unreachable { host: host() },
            Failure::Tls { host: host() },
            Failure::NotRtmp { host: host() },
            Failure::RedirectLoop { host: host() },
            certificate(CertificateProblem::UnknownIssuer),
            certificate(CertificateProblem::WrongName { names: vec!["a.example".to_owned()] }),
            certificate(CertificateProblem::Expired { days: Some(1), clock }),
            certificate(CertificateProblem::NotYetValid { days: Some(2), clock }),
            certificate(CertificateProblem::WrongClock { clock }),
            certificate(CertificateProblem::Authority),
            certificate(CertificateProblem::Other("bad signature".to_owned())),
            Failure::InsecureRedirect { host: host() },
            Failure::Moved,
        ] {
            let error = of(&failure);
            assert!(error.message.ends_with('.') && !error.message.contains("platform"), "{}", error.message);
        }
        assert!(of(&refusal(Step::Start)).message.contains("\u{201c}Not you\u{201d}"));
    }
}
