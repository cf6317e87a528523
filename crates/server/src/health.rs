//! `gostream health`: asks the server of the same settings whether it is ready, for whoever restarts what is not.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use gostream_net::proxy::{self, ProxyProtocol};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use crate::{
    config::{Settings, Tls},
    tls::{self, Certificates, acme},
};

/// Longer than the server itself waits for its database, and shorter than any health check waits for us.
const TIMEOUT: Duration = Duration::from_secs(4);
/// An answer of `/readyz` has a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1_024;
/// One request, and the end of the connection is the end of the answer.
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why the server is not said to be ready: a sentence each.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody answers, or not in time.
    #[error("No server answers at {address}: {source}.")]
    Silent {
        /// Where `http.listen` says it is.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answers, and is not ready.
    #[error("The server at {address} is not ready: {status}. {why}")]
    NotReady {
        /// Where `http.listen` says it is.
        address: SocketAddr,
        /// The status line of its answer.
        status: String,
        /// The sentence in its answer, if there is one.
        why: String,
    },
    /// The certificate by which we would know it.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Asks `/readyz` at `http.listen`.
pub async fn ask(settings: &Settings) -> Result<(), Error> {
    tls::install_provider();
    let address = near(settings.http_listen);
    let tls = match &settings.tls {
        None => None,
        Some(Tls::Files(files)) => Some(Certificates::load(files)?),
        Some(Tls::Acme(_)) => Some(Certificates::new(acme::Store::at(&settings.data_dir).shown()?)),
    };
    let asking = async {
        let mut tcp = TcpStream::connect(address).await?;
        if ProxyProtocol::from(settings.proxy_protocol.clone()).expects(tcp.local_addr()?.ip()) {
            tcp.write_all(proxy::NO_CLIENT).await?;
        }
        let Some(certificates) = tls else { return status(tcp).await };
        let name = ServerName::IpAddress(address.ip().into());
        status(TlsConnector::from(certificates.client_config()).connect(name, tcp).await?).await
    };
    let answered = timeout(TIMEOUT, asking).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    match answered {
        Ok((status, _)) if status.split(' ').nth(1) == Some("200") => Ok(()),
        Ok((status, why)) => Err(Error::NotReady { address, status, why }),
        Err(source) => Err(Error::Silent { address, source }),
    }
}

/// Sends the request and gives the first line of the answer, and the sentence of a problem document.
async fn status(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<(String, String)> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let problem = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    let why = problem.as_ref().and_then(|problem: &serde_json::Value| problem["detail"].as_str());
    Ok((answer.lines().next().unwrap_or("an empty answer").to_owned(), why.unwrap_or_default().to_owned()))
}

/// A server that listens everywhere listens here, too; `[::]` takes IPv4 as well.
fn near(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) | IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_listens_everywhere_is_asked_on_this_machine() {
        for (listen, asked) in [
            ("[::]:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("192.0.2.7:9000", "192.0.2.7:9000"),
        ] {
            assert_eq!(near(listen.parse().expect("an address")).to_string(), asked);
        }
    }
}
