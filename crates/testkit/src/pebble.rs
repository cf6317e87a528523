//! A real ACME server: pebble, a small one by Let's Encrypt, with a name server that resolves every name to this
//! machine.

use std::{
    fs,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::{
    PATIENCE,
    certificate::Certificate,
    process::{Process, free_ports, text},
};

/// The name that it refuses to certify.
pub const BLOCKED: &str = "blocked.example";

/// A running authority. It validates TLS-ALPN-01 on a port chosen by the test instead of 443, and verifies signatures,
/// nonces and challenges.
#[derive(Debug)]
pub struct Pebble {
    port: u16,
    management: u16,
    own: Certificate,
    folder: TempDir,
    processes: [Process; 2],
}

impl Pebble {
    /// Starts it. Certificates are valid for `validity`; it validates on port `tls` of each name.
    pub async fn start(tls: u16, validity: Duration) -> anyhow::Result<Self> {
        let folder = TempDir::new()?;
        let [port, management, dns, unused] = free_ports()?;
        let own = Certificate::for_names(&["localhost"])?;
        let path = |name: &str| folder.path().join(name);
        fs::write(path("cert.pem"), &own.pem)?;
        fs::write(path("key.pem"), &own.key_pem)?;
        let config = format!(
            r#"{{"pebble": {{
                "listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
                "certificate": "{}", "privateKey": "{}", "httpPort": 1, "tlsPort": {tls},
                "certificateValidityPeriod": {}, "domainBlocklist": ["{BLOCKED}"]
            }}}}"#,
            text(&path("cert.pem")),
            text(&path("key.pem")),
            validity.as_secs(),
        );
        let file = path("config.json");
        fs::write(&file, config)?;
        let (dns, unused) = (format!("127.0.0.1:{dns}"), format!("127.0.0.1:{unused}"));
        let names = Process::start(
            "pebble-challtestsrv",
            &[
                "-dns01",
                &dns,
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-management",
                &unused,
            ],
        )?;
        // By default it sleeps for seconds before each validation, and rejects some valid nonces, to test clients.
        let environment = ["PEBBLE_VA_NOSLEEP=1", "PEBBLE_WFE_NONCEREJECT=0", "PEBBLE_AUTHZREUSE=0"];
        let arguments = ["pebble", "-config", text(&file), "-dnsserver", &dns];
        let authority = Process::start("env", &[&environment[..], &arguments[..]].concat())?;
        let mut pebble = Self { port, management, own, folder, processes: [authority, names] };
        pebble.until_listening().await?;
        Ok(pebble)
    }

    async fn until_listening(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        for port in [self.port, self.management] {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                if !self.processes.iter_mut().all(Process::is_running) || started.elapsed() > PATIENCE {
                    bail!("pebble does not listen");
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        Ok(())
    }

    /// The URL of its ACME directory.
    pub fn directory(&self) -> String {
        format!("https://localhost:{}/dir", self.port)
    }

    /// The CA file for its own HTTPS.
    pub fn ca(&self) -> String {
        text(&self.folder.path().join("cert.pem")).to_owned()
    }

    /// The roots of the certificates that it issues.
    pub async fn roots(&self) -> anyhow::Result<RootCertStore> {
        let mut trusted = RootCertStore::empty();
        trusted.add(self.own.der.clone())?;
        let config = ClientConfig::builder().with_root_certificates(trusted).with_no_client_auth();
        let tcp = TcpStream::connect(("127.0.0.1", self.management)).await?;
        let mut stream = TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost")?, tcp).await?;
        stream.write_all(b"GET /roots/0 HTTP/1.0\r\nHost: localhost\r\n\r\n").await?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.context("the root")?;
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&answer)?)?;
        Ok(roots)
    }
}
