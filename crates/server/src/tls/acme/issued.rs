//! A certificate that an authority issued, with its names and its validity.

use std::sync::Arc;

use rustls::{
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::error::Error;
use crate::config::Acme;

/// A certificate with its key, parsed from PEM.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) certificate: Arc<CertifiedKey>,
    /// The directory URL of the authority.
    pub(super) directory: String,
    pub(super) from: OffsetDateTime,
    pub(super) until: OffsetDateTime,
    names: Vec<String>,
}

impl Issued {
    /// Parses a private key and a chain, leaf first.
    pub(super) fn read(pem: &str, directory: &str) -> Result<Self, Error> {
        let unreadable = |what: &dyn std::fmt::Display| Error::Unreadable(what.to_string());
        let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unreadable(&error))?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|error| unreadable(&error))?;
        let leaf = chain.first().ok_or_else(|| unreadable(&"it holds no certificate"))?;
        let (_, parsed) = X509Certificate::from_der(leaf).map_err(|error| unreadable(&error))?;
        let alternatives = parsed.subject_alternative_name().map_err(|error| unreadable(&error))?;
        let names = alternatives.map_or_else(Vec::new, |extension| {
            let dns = |name: &GeneralName<'_>| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            };
            extension.value.general_names.iter().filter_map(dns).collect()
        });
        let validity = parsed.validity();
        let (from, until) = (validity.not_before.to_datetime(), validity.not_after.to_datetime());
        let certificate = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider());
        let certificate = Arc::new(certificate.map_err(|error| unreadable(&error))?);
        Ok(Self { certificate, directory: directory.to_owned(), from, until, names })
    }

    /// Whether the certificate is from this authority and for these names.
    pub(super) fn is_what(&self, acme: &Acme) -> bool {
        self.directory == acme.directory.as_str() && acme.domains.iter().all(|domain| self.names.contains(domain))
    }

    /// The time of renewal, after two thirds of the lifetime: one month of three remains, or two days of six.
    pub(super) fn due(&self) -> OffsetDateTime {
        self.from + (self.until - self.from) * 2 / 3
    }
}
