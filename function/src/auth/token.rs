//! A JSON Web Token in compact form (RFC 7519, RFC 7515), signed with RS256 and nothing else.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The longest token, in bytes. Google's have about a thousand.
const MAX_TOKEN_BYTES: usize = 8 << 10;
/// By how many seconds the clocks of issuer and receiver may differ.
pub(super) const LEEWAY_SECONDS: i64 = 60;
/// Who signs identity tokens for Google's accounts.
const ISSUERS: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

/// A token whose signature is not verified yet.
pub(super) struct Token<'a> {
    header: Header,
    claims: Claims,
    /// What is signed: the first two parts, as they came.
    pub(super) signed: &'a [u8],
    pub(super) signature: Vec<u8>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that a receiver must understand. None is understood here.
    crit: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    iat: i64,
    nbf: Option<i64>,
    email: Option<String>,
    #[serde(default)]
    email_verified: bool,
}

impl<'a> Token<'a> {
    /// Decodes a token; the error says what is wrong with it.
    pub(super) fn read(text: &'a str) -> Result<Self, &'static str> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err("the token is too long");
        }
        let not_a_jwt = "the token is no JWT: three parts in base64url, the first two JSON";
        let (signed, signature) = text.rsplit_once('.').ok_or(not_a_jwt)?;
        let (header, claims) = signed.split_once('.').ok_or(not_a_jwt)?;
        let header: Header = json(header).ok_or(not_a_jwt)?;
        if header.alg != "RS256" || header.crit.is_some() {
            return Err("the token is not signed with RS256 alone");
        }
        let claims = json(claims).ok_or("the token lacks a claim: iss, aud, exp, iat")?;
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).map_err(|_| not_a_jwt)?;
        Ok(Self { header, claims, signed: signed.as_bytes(), signature })
    }

    /// Checks the claims at a time, in Unix seconds.
    pub(super) fn check(&self, audience: &str, now: i64) -> Result<(), &'static str> {
        let Claims { iss, aud, exp, iat, nbf, .. } = &self.claims;
        if !ISSUERS.contains(&iss.as_str()) {
            return Err("the token is not of Google's making");
        }
        if aud != audience {
            return Err("the token is for another audience");
        }
        if exp.saturating_add(LEEWAY_SECONDS) <= now {
            return Err("the token has expired");
        }
        if iat.max(&nbf.unwrap_or(i64::MIN)).saturating_sub(LEEWAY_SECONDS) > now {
            return Err("the token is not valid yet");
        }
        Ok(())
    }

    /// The id of the key that the token names; empty if it names none.
    pub(super) fn key_id(&self) -> &str {
        self.header.kid.as_deref().unwrap_or_default()
    }

    /// The account, if its email is verified.
    pub(super) fn email(&self) -> Option<&str> {
        self.claims.email.as_deref().filter(|_| self.claims.email_verified)
    }
}

fn json<T: DeserializeOwned>(part: &str) -> Option<T> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(part).ok()?;
    // From bytes, serde would pass over claims that it has no use for without looking at their encoding.
    serde_json::from_str(std::str::from_utf8(&bytes).ok()?).ok()
}
