//! The private files in `acme/` of the data directory: the account, the certificate with its key, and the self-signed
//! stand-in.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use instant_acme::AccountCredentials;
use rcgen::{CertificateParams, DistinguishedName, KeyPair};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::{error::Error, issued::Issued};
use crate::{config::Acme, data_dir, tls::error::Error as TlsError};

const FOLDER: &str = "acme";
/// The account's key and its URL at the authority.
const ACCOUNT: &str = "account.json";
/// Key and chain are in one file, so that a crash cannot leave two parts that do not belong together.
const CERTIFICATE: &str = "certificate.pem";
/// The self-signed certificate that is used until there is an issued one.
const STAND_IN: &str = "stand-in.pem";
/// A line before the first block of the certificate file; PEM permits any text there (RFC 7468 section 5.2).
const ISSUED_BY: &str = "Issued by ";

/// The folder `acme/`.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    folder: PathBuf,
}

/// An account, with the authority and the email address that it was created for.
#[derive(Deserialize, Serialize)]
struct StoredAccount {
    directory: String,
    email: Option<String>,
    credentials: AccountCredentials,
}

impl Store {
    pub(crate) fn at(data_dir: &Path) -> Self {
        Self { folder: data_dir.join(FOLDER) }
    }

    pub(super) fn prepare(&self) -> Result<(), data_dir::Error> {
        data_dir::prepare(&self.folder)
    }

    /// The certificate that the server of this data directory uses.
    pub(crate) fn shown(&self) -> Result<Arc<CertifiedKey>, TlsError> {
        let issued = self.issued().ok().flatten().or_else(|| self.own().ok().flatten());
        issued.map(|issued| issued.certificate).ok_or_else(|| TlsError::None { path: self.folder.clone() })
    }

    /// The stored certificate, if there is one.
    pub(super) fn issued(&self) -> Result<Option<Issued>, Error> {
        self.read(CERTIFICATE)
    }

    /// Creates a stand-in for these names. It is stored because `gostream health` verifies the server with it.
    pub(super) fn stand_in(&self, domains: &[String]) -> Result<Arc<CertifiedKey>, data_dir::Error> {
        let path = self.folder.join(STAND_IN);
        let failed = |error: &dyn std::fmt::Display| data_dir::Error::File {
            path: path.clone(),
            source: io::Error::other(error.to_string()),
        };
        let pem = self_signed(domains).map_err(|error| failed(&error))?;
        data_dir::replace(&path, &pem)?;
        Ok(Issued::read(&pem, "").map_err(|error| failed(&error))?.certificate)
    }

    fn own(&self) -> Result<Option<Issued>, Error> {
        self.read(STAND_IN)
    }

    fn read(&self, name: &str) -> Result<Option<Issued>, Error> {
        let pem = match fs::read_to_string(self.folder.join(name)) {
            Ok(pem) => pem,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::Unreadable(error.to_string())),
        };
        let directory = pem.lines().next().and_then(|line| line.strip_prefix(ISSUED_BY)).unwrap_or_default();
        Issued::read(&pem, directory).map(Some)
    }

    /// Stores a certificate in place of the previous one.
    pub(super) fn keep(&self, issued: &Issued, pem: &str) -> Result<(), data_dir::Error> {
        data_dir::replace(&self.folder.join(CERTIFICATE), &format!("{ISSUED_BY}{}\n{pem}", issued.directory))
    }

    /// The account, if it is for this authority and email address. An unreadable file counts as none.
    pub(super) fn account(&self, acme: &Acme) -> Option<AccountCredentials> {
        let text = fs::read_to_string(self.folder.join(ACCOUNT)).ok()?;
        let stored: StoredAccount = serde_json::from_str(&text).ok()?;
        (stored.directory == acme.directory.as_str() && stored.email == acme.email).then_some(stored.credentials)
    }

    pub(super) fn keep_account(&self, acme: &Acme, credentials: AccountCredentials) -> Result<(), Error> {
        let stored = StoredAccount { directory: acme.directory.to_string(), email: acme.email.clone(), credentials };
        let text = serde_json::to_string(&stored).map_err(|error| Error::Unreadable(error.to_string()))?;
        Ok(data_dir::replace(&self.folder.join(ACCOUNT), &text)?)
    }

    /// Deletes an account that the authority does not know.
    pub(super) fn forget_account(&self) {
        if let Err(error) = fs::remove_file(self.folder.join(ACCOUNT)) {
            tracing::debug!(%error, "The account could not be deleted.");
        }
    }
}

fn self_signed(domains: &[String]) -> Result<String, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(domains)?;
    params.distinguished_name = DistinguishedName::new();
    Ok(format!("{}{}", key.serialize_pem(), params.self_signed(&key)?.pem()))
}
