//! A certificate by ACME (RFC 8555): proved by TLS-ALPN-01 (RFC 8737) on the HTTPS port, stored in the data directory,
//! and renewed in time.
//!
//! The server keeps its current certificate whatever the authority responds. Until it has one, it uses a self-signed
//! one, so that HTTPS and RTMPS work for clients that do not verify it.

use std::{path::Path, sync::Arc, time::Duration};

use rustls::{RootCertStore, sign::CertifiedKey};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::certificates::Certificates;
use crate::{config::Acme, data_dir};

mod error;
mod issued;
mod order;
mod store;
#[cfg(test)]
mod tests;

use error::Error;
use issued::Issued;
use order::{Authority, ORDER_TIMEOUT};
pub(crate) use store::Store;

/// The pause after the first failure. It doubles with each one, so there are five attempts in the first hour: the
/// number of failures per name and hour that Let's Encrypt allows (letsencrypt.org/docs/rate-limits).
const PAUSE_MIN: Duration = Duration::from_secs(2 * 60);
/// The longest pause, so that a problem that was fixed is noticed on the same day.
const PAUSE_MAX: Duration = Duration::from_secs(6 * 3_600);
/// The interval at which the due time is compared with the wall clock, which may be set, or jump after the machine
/// slept.
const LOOK_INTERVAL: Duration = Duration::from_secs(3_600);

/// Renews the certificate in time.
#[derive(Debug)]
pub(crate) struct Renewal {
    acme: Acme,
    authority: Authority,
    store: Store,
    present: Option<Issued>,
}

impl Renewal {
    /// Opens the stored state. Also returns the first certificate to use.
    pub(crate) fn open(
        acme: Acme,
        roots: RootCertStore,
        data_dir: &Path,
    ) -> Result<(Self, Arc<CertifiedKey>), data_dir::Error> {
        let store = Store::at(data_dir);
        store.prepare()?;
        let present = store.issued().unwrap_or_else(|error| {
            tracing::warn!("The stored certificate cannot be used; a new one will be requested: {error}.");
            None
        });
        let first = match &present {
            Some(issued) => issued.certificate.clone(),
            None => store.stand_in(&acme.domains)?,
        };
        let authority = Authority::new(acme.clone(), roots, store.clone());
        Ok((Self { acme, authority, store, present }, first))
    }

    /// Requests a certificate whenever one is due, until `stop`.
    pub(crate) async fn run(mut self, certificates: Arc<Certificates>, stop: CancellationToken) {
        let mut failures = 0;
        loop {
            let now = OffsetDateTime::now_utc();
            let pause = match self.left(now) {
                Some(left) => left.min(LOOK_INTERVAL),
                None => {
                    let renewed = tokio::select! {
                        () = stop.cancelled() => return,
                        renewed = self.renew(&certificates) => renewed,
                    };
                    failures = if renewed.is_ok() { 0 } else { failures + 1 };
                    self.pause_after(renewed, failures)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(pause) => {}
            }
        }
    }

    /// The time until the next certificate is due; `None` if it is due now.
    fn left(&self, now: OffsetDateTime) -> Option<Duration> {
        let present = self.present.as_ref().filter(|present| present.is_what(&self.acme))?;
        Duration::try_from(present.due() - now).ok().filter(|left| !left.is_zero())
    }

    async fn renew(&mut self, certificates: &Certificates) -> Result<(), Error> {
        tracing::info!(
            directory = %self.acme.directory,
            "Requesting a certificate for {}; port 443 of each name must lead to this server.",
            self.acme.domains.join(", ")
        );
        let obtained = timeout(ORDER_TIMEOUT, self.authority.obtain(certificates)).await;
        // The challenge is over, with or without success.
        certificates.challenge(Default::default());
        let pem = obtained.map_err(|_| Error::Timeout)??;
        let issued = Issued::read(&pem, self.acme.directory.as_str())?;
        if let Err(error) = self.store.keep(&issued, &pem) {
            tracing::error!(
                "The new certificate is in use but could not be stored; it will be requested again at the next start: {error}"
            );
        }
        certificates.show(issued.certificate.clone());
        tracing::info!(until = %day(issued.until), "A new certificate is in use.");
        self.present = Some(issued);
        Ok(())
    }

    fn pause_after(&self, renewed: Result<(), Error>, failures: u32) -> Duration {
        let now = OffsetDateTime::now_utc();
        match renewed {
            Ok(()) if self.left(now).is_some() => Duration::ZERO,
            // Another certificate would have the same fault, and authorities limit their number.
            Ok(()) => {
                tracing::warn!("The new certificate has expired already or lacks a name; is the clock right?");
                PAUSE_MAX
            }
            Err(error) => {
                let pause = pause(failures, &error);
                let names = self.acme.domains.join(", ");
                let minutes = pause.as_secs() / 60;
                match &self.present {
                    Some(present) if present.until > now => tracing::warn!(
                        "No new certificate for {names}; the current one stays, valid until {}. {error} \
                         The next attempt is in {minutes} minutes.",
                        day(present.until)
                    ),
                    _ => tracing::error!(
                        "There is no valid certificate for {names}: browsers refuse HTTPS, and most encoders RTMPS. {error} \
                         The next attempt is in {minutes} minutes."
                    ),
                }
                pause
            }
        }
    }
}

/// The pause after this number of consecutive failures.
fn pause(failures: u32, error: &Error) -> Duration {
    if error.is_limit() {
        return PAUSE_MAX;
    }
    PAUSE_MIN.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(PAUSE_MAX)
}

fn day(moment: OffsetDateTime) -> String {
    moment.format(&Rfc3339).unwrap_or_else(|_| moment.to_string())
}
