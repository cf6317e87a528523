//! The source of the certificate: files that the operator maintains, or an authority that issues it by ACME.

use std::path::PathBuf;

use url::Url;

use super::{error::Error, value, values::Values};

/// The directory of Let's Encrypt: <https://letsencrypt.org/docs/acme-protocol-updates/>.
const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

/// The certificate for HTTPS and RTMPS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Files that the operator maintains.
    Files(TlsFiles),
    /// Issued by ACME, and stored in the data directory.
    Acme(Acme),
}

/// The PEM files of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate chain, leaf first.
    pub cert: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// The certificate authority, and the names to get a certificate for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acme {
    /// At least one name, in lower case and ASCII.
    pub domains: Vec<String>,
    /// The address that the authority may send email to.
    pub email: Option<String>,
    /// The directory URL of the authority (RFC 8555 section 7.1.1).
    pub directory: Url,
    /// The root certificates for the authority's own HTTPS; `None` means those of the system.
    pub ca: Option<PathBuf>,
}

impl Values {
    pub(super) fn tls(&mut self) -> Result<Option<Tls>, Error> {
        let files = match (self.take("tls.cert", value::path)?, self.take("tls.key", value::path)?) {
            (Some(cert), Some(key)) => Some(TlsFiles { cert, key }),
            (None, None) => None,
            _ => return Err(Error::Together("tls.cert and tls.key go together: set both or none.")),
        };
        match (files, self.acme()?) {
            (Some(_), Some(_)) => Err(Error::Together(
                "acme.domains and tls.cert exclude each other: a certificate is either asked for or read from files.",
            )),
            (files, acme) => Ok(files.map(Tls::Files).or(acme.map(Tls::Acme))),
        }
    }

    fn acme(&mut self) -> Result<Option<Acme>, Error> {
        let email = self.take("acme.email", value::email)?;
        let directory = self.take("acme.directory", value::https_url)?;
        let ca = self.take("acme.ca", value::path)?;
        let Some(domains) = self.take("acme.domains", value::domains)? else {
            if email.is_some() || directory.is_some() || ca.is_some() {
                return Err(Error::Together(
                    "acme.email, acme.directory and acme.ca say how a certificate is asked for: set acme.domains, too.",
                ));
            }
            return Ok(None);
        };
        let directory = directory.or_else(|| Url::parse(LETS_ENCRYPT).ok());
        Ok(directory.map(|directory| Acme { domains, email, directory, ca }))
    }
}
