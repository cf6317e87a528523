//! Session tokens: signed claims that name a session. The session itself is a row; its tokens become invalid with it.

use hmac::{Hmac, KeyInit as _, Mac as _};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use time::Duration;
use uuid::Uuid;

use crate::config::SecretKey;

/// The duration of a login.
pub(crate) const LIFETIME: Duration = Duration::days(30);
/// Separates this use of the secret key from every other.
const KEY_LABEL: &[u8] = b"gostream session token v1";

/// The claims of a token.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Claims {
    /// The user.
    pub sub: Uuid,
    /// The session.
    pub sid: Uuid,
    /// Seconds since 1970.
    pub iat: i64,
    /// Seconds since 1970.
    pub exp: i64,
}

/// Signs and checks tokens (HS256).
pub(crate) struct Tokens {
    encoding: EncodingKey,
    decoding: DecodingKey,
    validation: Validation,
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens(****)")
    }
}

impl Tokens {
    /// Derives the signing key from the server's secret key.
    pub(crate) fn new(secret: &SecretKey) -> Self {
        // HMAC accepts a key of any length, so this never fails; with an empty key every check below would fail.
        let derived = Hmac::<Sha256>::new_from_slice(&secret.0)
            .map(|mac| mac.chain_update(KEY_LABEL).finalize().into_bytes().to_vec())
            .unwrap_or_default();
        let mut validation = Validation::new(Algorithm::HS256);
        validation.leeway = 0;
        validation.set_required_spec_claims(&["exp", "sub"]);
        Self { encoding: EncodingKey::from_secret(&derived), decoding: DecodingKey::from_secret(&derived), validation }
    }

    /// The token for `claims`.
    pub(crate) fn sign(&self, claims: &Claims) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
    }

    /// The claims, if the token was signed by this server and has not expired. The store knows whether the session
    /// still exists.
    pub(crate) fn read(&self, token: &str) -> Option<Claims> {
        jsonwebtoken::decode(token, &self.decoding, &self.validation).ok().map(|data| data.claims)
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};

    use super::*;

    fn claims(exp: i64) -> Claims {
        Claims { sub: Uuid::new_v4(), sid: Uuid::new_v4(), iat: 0, exp }
    }

    #[test]
    fn only_unexpired_tokens_of_this_server_are_read() {
        let tokens = Tokens::new(&SecretKey([7; 32]));
        let good = claims(i64::from(u32::MAX));
        let token = tokens.sign(&good).expect("signs");
        assert_eq!(tokens.read(&token), Some(good));
        assert_eq!(tokens.read(&tokens.sign(&claims(1)).expect("signs")), None, "expired");
        assert_eq!(Tokens::new(&SecretKey([8; 32])).read(&token), None, "another server's");
        assert_eq!(tokens.read("a.b.c"), None);

        let (_, rest) = token.split_once('.').expect("three parts");
        let (payload, _) = rest.split_once('.').expect("three parts");
        let unsigned = format!("{}.{payload}.", BASE64_URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#));
        assert_eq!(tokens.read(&unsigned), None, "algorithm none");
    }
}
