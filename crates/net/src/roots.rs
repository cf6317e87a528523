//! Whom TLS connections out of here trust.

use rustls::RootCertStore;

/// The system's certificate authorities, or the well-known ones where the system has none.
pub fn roots() -> RootCertStore {
    let native = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(native.certs);
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}
