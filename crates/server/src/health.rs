//! `gostream health`: asks the server with the same settings whether it is ready. For service managers that restart
//! unhealthy servers.

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

/// Longer than the server waits for its database, and shorter than the timeout of usual health checks.
const TIMEOUT: Duration = Duration::from_secs(4);
/// The response of `/readyz` has a few hundred bytes.
const ANSWER_BYTES_MAX: u64 = 16 * 1_024;
/// One request. The response ends with the connection.
const REQUEST: &[u8] = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

/// Why the server does not count as ready; each is a sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No response, or none in time.
    #[error("No server answers at {address}: {source}.")]
    Silent {
        /// The address of `http.listen`.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The server responded that it is not ready.
    #[error("The server at {address} is not ready: {status}. {why}")]
    NotReady {
        /// The address of `http.listen`.
        address: SocketAddr,
        /// The status line of the response.
        status: String,
        /// The `detail` sentence of the response, or an empty string.
        why: String,
    },
    /// The certificate that the server is verified with.
    #[error(transparent)]
    Tls(#[from] tls::Error),
}

/// Requests `/readyz` from `http.listen`.
pub async fn check(settings: &Settings) -> Result<(), Error> {
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

/// Sends the request. Returns the status line, and the `detail` sentence of a problem document.
async fn status(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<(String, String)> {
    stream.write_all(REQUEST).await?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let problem = answer.split_once("\r\n\r\n").and_then(|(_, body)| serde_json::from_str(body).ok());
    let why = problem.as_ref().and_then(|problem: &serde_json::Value| problem["detail"].as_str());
    Ok((answer.lines().next().unwrap_or("an empty answer").to_owned(), why.unwrap_or_default().to_owned()))
}

/// An address of this machine for a server that listens on all addresses; `[::]` accepts IPv4 as well.
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
        for (listen, address) in [
            ("[::]:8080", "127.0.0.1:8080"),
            ("0.0.0.0:80", "127.0.0.1:80"),
            ("[::1]:8080", "[::1]:8080"),
            ("192.0.2.7:9000", "192.0.2.7:9000"),
        ] {
            assert_eq!(near(listen.parse().expect("an address")).to_string(), address);
        }
    }
}
