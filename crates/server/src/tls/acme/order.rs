//! One order (RFC 8555 section 7.1): the account, the order, the challenges and the certificate.

use std::{collections::HashMap, fmt, sync::Arc, time::Duration};

use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder, Order, OrderStatus, Problem,
    RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs::sign::any_supported_type,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    sign::CertifiedKey,
};

use super::{error::Error, store::Store};
use crate::{config::Acme, tls::certificates::Certificates};

/// The timeout from the order to the certificate. Authorities check the challenges within seconds, from several places.
pub(super) const ORDER_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// RFC 8555 section 6.7: the authority has deleted the account, or another authority has taken over the address.
const NO_SUCH_ACCOUNT: &str = "accountDoesNotExist";

/// The authority, and the account data to use with it.
pub(super) struct Authority {
    acme: Acme,
    tls: ClientConfig,
    store: Store,
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").field("acme", &self.acme).finish_non_exhaustive()
    }
}

impl Authority {
    pub(super) fn new(acme: Acme, roots: RootCertStore, store: Store) -> Self {
        let tls = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { acme, tls, store }
    }

    /// Gets a certificate. Returns private key and chain in PEM.
    pub(super) async fn obtain(&self, certificates: &Certificates) -> Result<String, Error> {
        let mut order = match self.order().await {
            Err(error) if error.is(NO_SUCH_ACCOUNT) => {
                self.store.forget_account();
                self.order().await?
            }
            order => order?,
        };
        self.prove(&mut order, certificates).await?;
        let patience = RetryPolicy::new().timeout(ORDER_TIMEOUT);
        match order.poll_ready(&patience).await {
            Ok(OrderStatus::Ready) => {}
            outcome => return Err(why(&mut order, outcome).await),
        }
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(format!("{key}{chain}"))
    }

    async fn order(&self) -> Result<Order, Error> {
        let account = self.account().await?;
        let names: Vec<_> = self.acme.domains.iter().cloned().map(Identifier::Dns).collect();
        Ok(account.new_order(&NewOrder::new(&names)).await?)
    }

    /// The stored account, or a new one.
    async fn account(&self) -> Result<Account, Error> {
        let connector = HttpsConnectorBuilder::new().with_tls_config(self.tls.clone()).https_only().enable_http1();
        let client = Client::builder(TokioExecutor::new()).build(connector.build());
        let builder = Account::builder_with_http(Box::new(client));
        if let Some(credentials) = self.store.account(&self.acme) {
            return Ok(builder.from_credentials(credentials).await?);
        }
        let contact = self.acme.email.as_ref().map(|email| format!("mailto:{email}"));
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let (account, credentials) = builder.create(&new, self.acme.directory.to_string(), None).await?;
        self.store.keep_account(&self.acme, credentials)?;
        Ok(account)
    }

    /// Sets up the challenge of each name that is not proved yet, and asks the authority to check it.
    async fn prove(&self, order: &mut Order, certificates: &Certificates) -> Result<(), Error> {
        let mut shown = HashMap::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let domain = authorization.identifier().to_string();
            let Some(mut challenge) = authorization.challenge(ChallengeType::TlsAlpn01) else {
                return Err(Error::NoChallenge { domain });
            };
            let digest = challenge.key_authorization().digest();
            shown.insert(domain.clone(), Arc::new(answer(domain, digest.as_ref())?));
            certificates.challenge(shown.clone());
            challenge.set_ready().await?;
        }
        Ok(())
    }
}

/// The certificate for a challenge (RFC 8737 section 3).
fn answer(domain: String, digest: &[u8]) -> Result<CertifiedKey, Error> {
    let own = |error: rcgen::Error| Error::Unreadable(error.to_string());
    let key = KeyPair::generate().map_err(own)?;
    let mut params = CertificateParams::new([domain]).map_err(own)?;
    params.distinguished_name = DistinguishedName::new();
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key).map_err(own)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // `from_der` would parse the certificate, and does not know this extension.
    let key = any_supported_type(&key).map_err(|error| Error::Unreadable(error.to_string()))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// The reason of a failed order, which is reported in the failed challenge.
async fn why(order: &mut Order, outcome: Result<OrderStatus, instant_acme::Error>) -> Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let domain = authorization.identifier().to_string();
        let Ok(state) = authorization.refresh().await else { continue };
        if let Some(problem) = state.challenges.iter().find_map(|challenge| challenge.error.clone()) {
            return Error::Refused { domain: Some(domain), problem };
        }
    }
    match outcome {
        Err(error) => error.into(),
        Ok(status) => Error::Refused {
            domain: None,
            problem: Problem {
                r#type: None,
                detail: Some(format!("the order is {status:?}")),
                status: None,
                subproblems: Vec::new(),
            },
        },
    }
}
