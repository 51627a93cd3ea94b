//! The issuer's public keys: fetched as a JSON Web Key Set (RFC 7517), kept as long as its `Cache-Control` says, renewed in the
//! background. Whatever tokens arrive, it is asked once in [`GAP`] at most.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::CACHE_CONTROL;
use reqwest::{Client, Url, redirect};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use super::token::Token;
use crate::cloud::{read_answer, use_ring};
use infra::error_chain;

/// The least time between two fetches.
const GAP: Duration = Duration::from_secs(10);
/// How long one fetch may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// The longest answer in bytes, and the most keys in it. Google's has two keys in 1.5 KB.
const MAX_BYTES: usize = 256 << 10;
const MAX_KEYS: usize = 64;
/// How long keys are fresh where the answer does not say, and at least and at most.
const FRESH: Duration = Duration::from_secs(3600);
const FRESH_BOUNDS: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(24 * 3600)];
/// How long known keys go on when no others can be fetched.
const STALE: Duration = Duration::from_secs(24 * 3600);

/// An RSA public key.
pub(super) struct Key {
    n: Vec<u8>,
    e: Vec<u8>,
}

/// No keys could be fetched.
#[derive(Debug)]
pub(super) struct Unavailable;

pub(super) struct Keys {
    url: String,
    client: Client,
    known: Mutex<Arc<Known>>,
    /// One fetch at a time, and what came of the last.
    last: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

#[derive(Default)]
struct Known {
    keys: HashMap<String, Arc<Key>>,
    /// When they were fetched, and how long they are fresh.
    fetched: Option<(Instant, Duration)>,
}

#[derive(Deserialize)]
struct KeySet {
    keys: Vec<WebKey>,
}

#[derive(Deserialize)]
struct WebKey {
    #[serde(default)]
    kid: String,
    kty: String,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

/// Keys over plain HTTP would let in whoever answers first; on this machine nobody else does.
pub(crate) fn check_url(text: &str) -> Result<(), String> {
    let right = "it takes an https:// address, or http:// on this machine";
    let url = Url::parse(text).map_err(|error| format!("{error}; {right}"))?;
    let allowed = url.scheme() == "https" || (url.scheme() == "http" && is_local(&url));
    if allowed && url.host_str().is_some() { Ok(()) } else { Err(right.to_owned()) }
}

fn is_local(url: &Url) -> bool {
    matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"))
}

impl Key {
    pub(super) fn signed(&self, token: &Token<'_>) -> bool {
        let key = RsaPublicKeyComponents { n: &self.n, e: &self.e };
        key.verify(&RSA_PKCS1_2048_8192_SHA256, token.signed, &token.signature).is_ok()
    }
}

impl Keys {
    pub(super) fn new(url: &str) -> Result<Self, reqwest::Error> {
        use_ring();
        let mut client = Client::builder().timeout(PATIENCE).redirect(redirect::Policy::none());
        if Url::parse(url).is_ok_and(|url| is_local(&url)) {
            client = client.no_proxy();
        }
        let (known, last) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { url: url.to_owned(), client: client.build()?, known, last })
    }

    /// The key of this id; `None` if the issuer has none. One that is known is found without waiting.
    ///
    /// # Errors
    /// The key is not known, and no keys can be fetched.
    pub(super) async fn get(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Key>>, Unavailable> {
        let known = self.known();
        if let (Some(key), Some((fetched, fresh))) = (known.keys.get(id), known.fetched) {
            let age = fetched.elapsed();
            if age > fresh {
                self.renew();
            }
            if age <= fresh + STALE {
                return Ok(Some(Arc::clone(key)));
            }
        }
        // Apart, since hardly any request needs it and all would carry room for it.
        if Box::pin(self.fetch()).await { Ok(self.known().keys.get(id).cloned()) } else { Err(Unavailable) }
    }

    /// Fetches in the background, unless that is being done.
    pub(super) fn renew(self: &Arc<Self>) {
        if self.last.try_lock().is_ok() {
            let keys = Arc::clone(self);
            tokio::spawn(async move { keys.fetch().await });
        }
    }

    fn known(&self) -> Arc<Known> {
        Arc::clone(&self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches, unless that was just done; whether the last fetch succeeded.
    async fn fetch(&self) -> bool {
        let mut last = self.last.lock().await;
        if let Some((at, succeeded)) = *last
            && at.elapsed() < GAP
        {
            return succeeded;
        }
        let fetched = self.download().await;
        let succeeded = fetched.is_ok();
        match fetched {
            Ok(known) => *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(known),
            Err(why) => {
                tracing::warn!(url = self.url, why, "no keys for push tokens (AUTH_KEYS_URL); known ones go on")
            }
        }
        *last = Some((Instant::now(), succeeded));
        succeeded
    }

    async fn download(&self) -> Result<Known, String> {
        let wrong = |error: reqwest::Error| error_chain(&error);
        let answer = self.client.get(&self.url).send().await.map_err(wrong)?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let control = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let fresh = control.and_then(max_age).unwrap_or(FRESH).clamp(FRESH_BOUNDS[0], FRESH_BOUNDS[1]);
        let keys = read(&read_answer(answer, MAX_BYTES).await?)?;
        Ok(Known { keys, fetched: Some((Instant::now(), fresh)) })
    }
}

/// The keys of a set that can sign with RS256.
fn read(body: &[u8]) -> Result<HashMap<String, Arc<Key>>, String> {
    let set: KeySet = serde_json::from_slice(body).map_err(|error| format!("the answer is no key set: {error}"))?;
    let suits = |key: &WebKey| {
        let or_absent = |value: &Option<String>, right: &str| value.as_deref().is_none_or(|value| value == right);
        key.kty == "RSA" && or_absent(&key.purpose, "sig") && or_absent(&key.alg, "RS256")
    };
    let number = |text: Option<String>| BASE64_URL_SAFE_NO_PAD.decode(text?).ok();
    let keys: HashMap<String, Arc<Key>> = set
        .keys
        .into_iter()
        .filter(suits)
        .take(MAX_KEYS)
        .filter_map(|key| Some((key.kid, Arc::new(Key { n: number(key.n)?, e: number(key.e)? }))))
        .collect();
    if keys.is_empty() { Err("the answer holds no RSA key for RS256".to_owned()) } else { Ok(keys) }
}

/// `max-age` of a Cache-Control header; directives have no case (RFC 9111).
fn max_age(control: &str) -> Option<Duration> {
    let directives = control.split(',').filter_map(|directive| directive.trim().split_once('='));
    let (_, seconds) = directives.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("max-age"))?;
    seconds.parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stale_key_is_good_while_others_are_fetched_as_often_as_the_answer_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys = Arc::new(Keys::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap());
        let known = HashMap::from([("old".to_owned(), Arc::new(Key { n: vec![1], e: vec![1] }))]);
        *keys.known.lock().unwrap() = Arc::new(Known { keys: known, fetched: Some((Instant::now(), Duration::ZERO)) });
        // Nobody has answered yet.
        assert!(keys.get("old").await.unwrap().is_some());
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(keys.get("old").await.unwrap().is_some());
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let body = r#"{"keys": [{"kid": "new", "kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#;
        let head = "HTTP/1.1 200 OK\r\ncache-control: public, Max-Age=7200\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Waits for the fetch under way.
        assert!(keys.get("new").await.unwrap().is_some());
        assert_eq!(keys.known().fetched.unwrap().1, Duration::from_secs(7200));
        // What the issuer has no more is refused, and nothing makes it ask again so soon.
        for unknown in ["old", "forged"] {
            assert!(keys.get(unknown).await.unwrap().is_none());
        }
        assert!(listener.accept().now_or_never().is_none());
    }

    #[test]
    fn keys_come_from_where_nobody_can_put_others() {
        for (url, right) in [
            ("https://www.googleapis.com/oauth2/v3/certs", true),
            ("http://127.0.0.1:8085/certs", true),
            ("http://localhost/certs", true),
            ("http://localhost.example.com/certs", false),
            ("http://example.com/certs", false),
            ("file:///etc/passwd", false),
            ("certs", false),
        ] {
            assert_eq!(check_url(url).is_ok(), right, "{url}");
        }
    }

    #[test]
    fn only_keys_for_this_signature_are_taken() {
        let set = r#"{"keys": [
            {"kid": "a", "kty": "RSA", "use": "sig", "alg": "RS256", "n": "AQAB", "e": "AQAB"},
            {"kid": "b", "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB"},
            {"kid": "c", "kty": "EC", "crv": "P-256", "x": "AQAB", "y": "AQAB"},
            {"kid": "d", "kty": "RSA", "alg": "RS512", "n": "AQAB", "e": "AQAB"},
            {"kid": "e", "kty": "RSA", "n": "no base64!", "e": "AQAB"}]}"#;
        let found = read(set.as_bytes()).unwrap_or_default();
        assert_eq!(found.into_keys().collect::<Vec<_>>(), ["a"]);
        for nothing in ["{\"keys\": []}", "{}", "[", "{\"keys\": [{\"kty\": \"oct\", \"k\": \"AQAB\"}]}"] {
            assert!(read(nothing.as_bytes()).is_err());
        }
    }

    #[test]
    fn cache_control_is_read() {
        assert_eq!(max_age("public, max-age=19800, must-revalidate"), Some(Duration::from_secs(19800)));
        assert_eq!(max_age("no-store"), None);
    }
}
