//! A certificate in PEM files, which is reloaded when they change.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::{
    RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use tokio_util::sync::CancellationToken;

use super::{certificates::Certificates, error::Error};
use crate::config::TlsFiles;

/// The interval of checks for changes. Certificates are renewed days before they expire.
const WATCH_INTERVAL: Duration = Duration::from_secs(10);

impl Certificates {
    /// Reads the files for the first time.
    pub(crate) fn load(files: &TlsFiles) -> Result<Arc<Self>, Error> {
        Ok(Self::new(Arc::new(read(files)?)))
    }

    /// Reads the files again. The current certificate is kept after an error.
    pub(crate) fn reload(&self, files: &TlsFiles) -> Result<(), Error> {
        self.show(Arc::new(read(files)?));
        Ok(())
    }

    /// Checks the files until `stop`. Reloads them after a change, or on request.
    pub(super) async fn watch(&self, files: TlsFiles, stop: CancellationToken) {
        let mut seen = stamps(&files);
        let mut ticks = tokio::time::interval(WATCH_INTERVAL);
        loop {
            let is_requested = tokio::select! {
                () = stop.cancelled() => return,
                () = self.reload_requested.notified() => true,
                _ = ticks.tick() => false,
            };
            let stamp = stamps(&files);
            if stamp == seen && !is_requested {
                continue;
            }
            // A failed version counts as seen, too. Partly written files get another stamp when they are complete.
            seen = stamp;
            match self.reload(&files) {
                Ok(()) => tracing::info!("The certificate was reloaded."),
                Err(error) => tracing::warn!(%error, "The changed certificate cannot be used; the current one stays."),
            }
        }
    }
}

fn stamps(files: &TlsFiles) -> [Option<(SystemTime, u64)>; 2] {
    let stamp = |path| -> io::Result<_> {
        let metadata = fs::metadata(path)?;
        Ok((metadata.modified()?, metadata.len()))
    };
    [stamp(&files.cert).ok(), stamp(&files.key).ok()]
}

/// The root certificates in a file. No others are trusted.
pub(crate) fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let read = read.map_err(|source| Error::Read { setting: "acme.ca", path: path.to_owned(), source })?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read);
    if roots.is_empty() { Err(Error::NoRoot { path: path.to_owned() }) } else { Ok(roots) }
}

fn read(files: &TlsFiles) -> Result<CertifiedKey, Error> {
    let failed = |setting, path: &PathBuf| {
        let path = path.clone();
        move |source| Error::Read { setting, path, source }
    };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(failed("tls.cert", &files.cert))?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(failed("tls.key", &files.key))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(Error::Pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_pair(files: &TlsFiles) -> Vec<u8> {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("made");
        fs::write(&files.cert, made.cert.pem()).expect("written");
        fs::write(&files.key, made.signing_key.serialize_pem()).expect("written");
        made.cert.der().to_vec()
    }

    fn leaf(certificates: &Certificates) -> Vec<u8> {
        certificates.current.load().cert.first().expect("a leaf").to_vec()
    }

    #[tokio::test(start_paused = true)]
    async fn files_are_reloaded_at_once_on_request() {
        let temp = tempfile::tempdir().expect("temp dir");
        let files = TlsFiles { cert: temp.path().join("cert.pem"), key: temp.path().join("key.pem") };
        write_pair(&files);
        let certificates = Certificates::load(&files).expect("loads");
        let stop = CancellationToken::new();
        let watching = tokio::spawn({
            let (certificates, files, stop) = (certificates.clone(), files.clone(), stop.clone());
            async move { certificates.watch(files, stop).await }
        });
        let begun = tokio::time::Instant::now();
        tokio::task::yield_now().await;
        let second = write_pair(&files);
        certificates.request_reload();
        while leaf(&certificates) != second {
            tokio::task::yield_now().await;
        }
        assert!(begun.elapsed() < WATCH_INTERVAL, "before the next check");
        stop.cancel();
        watching.await.expect("ends");
    }

    #[test]
    fn a_changed_pair_is_used_and_an_invalid_one_is_not() {
        let temp = tempfile::tempdir().expect("temp dir");
        let files = TlsFiles { cert: temp.path().join("cert.pem"), key: temp.path().join("key.pem") };
        let first = write_pair(&files);
        let certificates = Certificates::load(&files).expect("loads");
        assert_eq!(leaf(&certificates), first);

        let second = write_pair(&files);
        certificates.reload(&files).expect("reloads");
        assert_eq!(leaf(&certificates), second);

        let key = fs::read(&files.key).expect("readable");
        write_pair(&files);
        fs::write(&files.key, key).expect("written");
        assert!(matches!(certificates.reload(&files), Err(Error::Pair(_))), "certificate and key of different pairs");
        fs::write(&files.cert, "no PEM").expect("written");
        assert!(certificates.reload(&files).is_err());
        assert_eq!(leaf(&certificates), second, "the valid one stays");
    }
}
