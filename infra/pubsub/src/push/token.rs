//! The OIDC tokens that pushes carry, and the key set that verifies them.
//!
//! The key is [`KEY`], which anyone can read in the sources: a token signed with it proves nothing. It is for local
//! services only, which are told to trust it by `AUTH_KEYS_URL`. It was made once with `openssl genpkey -algorithm RSA
//! -pkeyopt rsa_keygen_bits:2048 | openssl pkcs8 -topk8 -nocrypt -outform DER`.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::Duration;

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents};
use serde_json::{Value, json};

use crate::time::Time;

static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| {
    let key = RsaKeyPair::from_pkcs8(include_bytes!("../worthless_development_key.p8"));
    key.unwrap_or_else(|error| panic!("worthless_development_key.p8: {error}"))
});

const KEY_ID: &str = "worthless-development-key";
const TOKEN_LIFETIME: Duration = Duration::from_secs(3600);
/// Tokens that are kept; when there are more, all are dropped.
const MAX_CACHED_TOKENS: usize = 1000;

/// The JSON Web Key Set, in the form of `https://www.googleapis.com/oauth2/v3/certs`.
pub(crate) fn key_set() -> Value {
    let public: RsaPublicKeyComponents<Vec<u8>> = KEY.public().into();
    let (modulus, exponent) = (BASE64_URL_SAFE_NO_PAD.encode(public.n), BASE64_URL_SAFE_NO_PAD.encode(public.e));
    json!({"keys": [{"kid": KEY_ID, "kty": "RSA", "alg": "RS256", "use": "sig", "n": modulus, "e": exponent}]})
}

/// Tokens in the first half of their lifetime, by account and audience. Kept because a signature costs about a
/// millisecond.
#[derive(Debug, Default)]
pub(super) struct Tokens(Mutex<HashMap<(String, String), (Time, String)>>);

impl Tokens {
    /// A token of this account for this audience; `None` if it could not be signed.
    pub(super) fn get(&self, now: Time, email: &str, audience: &str) -> Option<String> {
        let mut tokens = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (email.to_owned(), audience.to_owned());
        if let Some((made, token)) = tokens.get(&key)
            && now.since(*made) < TOKEN_LIFETIME / 2
        {
            return Some(token.clone());
        }
        if tokens.len() >= MAX_CACHED_TOKENS {
            tokens.clear();
        }
        let token = sign(now, email, audience)?;
        tokens.insert(key, (now, token.clone()));
        Some(token)
    }
}

fn sign(now: Time, email: &str, audience: &str) -> Option<String> {
    const SUBJECT: &str = "100000000000000000000";
    let issued = now.as_micros() / 1_000_000;
    let header = json!({"alg": "RS256", "kid": KEY_ID, "typ": "JWT"});
    let claims = json!({
        "iss": "https://accounts.google.com", "aud": audience, "azp": SUBJECT, "sub": SUBJECT, "email": email,
        "email_verified": true, "iat": issued, "exp": issued + TOKEN_LIFETIME.as_secs(),
    });
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let mut signature = vec![0; KEY.public().modulus_len()];
    KEY.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).ok()?;
    Some(format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ring::signature::RSA_PKCS1_2048_8192_SHA256;

    #[test]
    fn the_key_set_checks_a_token() {
        let tokens = Tokens::default();
        let now = Time::from_micros(1_700_000_000_000_000);
        let token = tokens.get(now, "a@b.example", "https://audience").unwrap();
        let keys = key_set();
        let decode = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).unwrap();
        let number = |name: &str| decode(keys["keys"][0][name].as_str().unwrap());
        let (signed, signature) = token.rsplit_once('.').unwrap();
        let public = RsaPublicKeyComponents { n: number("n"), e: number("e") };
        public.verify(&RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &decode(signature)).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        let json = |text: &str| serde_json::from_slice::<Value>(&decode(text)).unwrap();
        assert_eq!(json(header)["kid"], keys["keys"][0]["kid"]);
        let claims = json(claims);
        assert_eq!(claims["iss"], "https://accounts.google.com");
        assert_eq!((&claims["email"], &claims["email_verified"]), (&json!("a@b.example"), &json!(true)));
        assert_eq!((&claims["aud"], &claims["iat"]), (&json!("https://audience"), &json!(1_700_000_000)));
        assert_eq!(claims["exp"], 1_700_003_600);
        // Signed again only when half of its lifetime is over.
        assert_eq!(tokens.get(now.after(TOKEN_LIFETIME / 3), "a@b.example", "https://audience").unwrap(), token);
        assert_ne!(tokens.get(now.after(TOKEN_LIFETIME / 2), "a@b.example", "https://audience").unwrap(), token);
        assert_ne!(tokens.get(now, "other@b.example", "https://audience").unwrap(), token);
    }
}
