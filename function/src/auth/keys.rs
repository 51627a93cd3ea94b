//! The issuer's public keys.
//!
//! They are fetched as a JSON Web Key Set (RFC 7517), cached as long as its `Cache-Control` says, and renewed in the
//! background. Whichever tokens arrive, there is at most one request to the issuer in [`MIN_FETCH_INTERVAL`]. While the
//! issuer cannot be reached, cached keys are used for [`MAX_STALENESS`] longer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use http::header::CACHE_CONTROL;
use reqwest::{Client, Url, redirect};
use ring::signature::{RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents};
use serde::Deserialize;

use super::token::Token;
use crate::clients::{read_answer, use_ring};
use infra::error_chain;

/// The least time between two fetches.
const MIN_FETCH_INTERVAL: Duration = Duration::from_secs(10);
/// How long one fetch may take.
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest key set, in bytes. Google's has 1.5 KB.
const MAX_KEY_SET_BYTES: usize = 256 << 10;
/// The most keys of a key set. Google's has two.
const MAX_KEYS: usize = 64;
/// How long keys are fresh where the response does not say.
const DEFAULT_FRESHNESS: Duration = Duration::from_secs(3600);
/// The least that keys are fresh, whatever the response says.
const MIN_FRESHNESS: Duration = Duration::from_secs(60);
/// The most that keys are fresh, whatever the response says.
const MAX_FRESHNESS: Duration = Duration::from_secs(24 * 3600);
/// How long cached keys are used beyond their freshness when no others can be fetched.
const MAX_STALENESS: Duration = Duration::from_secs(24 * 3600);

/// An RSA public key.
pub(super) struct Key {
    n: Vec<u8>,
    e: Vec<u8>,
}

/// No keys could be fetched.
#[derive(Debug, thiserror::Error)]
#[error("no keys could be fetched")]
pub(super) struct KeysUnavailableError;

pub(super) struct Keys {
    url: String,
    client: Client,
    cache: Mutex<Arc<CachedKeys>>,
    /// One fetch at a time: when the last one ended, and whether it succeeded.
    last_fetch: tokio::sync::Mutex<Option<(Instant, bool)>>,
}

#[derive(Default)]
struct CachedKeys {
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

/// Checks an address of keys. Over plain HTTP, others on the network could answer with keys of their own; on this
/// machine they cannot.
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
        let mut client = Client::builder().timeout(FETCH_TIMEOUT).redirect(redirect::Policy::none());
        if Url::parse(url).is_ok_and(|url| is_local(&url)) {
            client = client.no_proxy();
        }
        let (cache, last_fetch) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { url: url.to_owned(), client: client.build()?, cache, last_fetch })
    }

    /// The key of this id; `None` if the issuer has none. A cached key is returned without waiting.
    ///
    /// # Errors
    /// The key is not cached, and no keys can be fetched.
    pub(super) async fn get(self: &Arc<Self>, id: &str) -> Result<Option<Arc<Key>>, KeysUnavailableError> {
        let cached = self.cached();
        if let (Some(key), Some((fetched, fresh))) = (cached.keys.get(id), cached.fetched) {
            let age = fetched.elapsed();
            if age > fresh {
                self.renew();
            }
            if age <= fresh + MAX_STALENESS {
                return Ok(Some(Arc::clone(key)));
            }
        }
        // Boxed, since hardly any request needs it and all would carry its size.
        if Box::pin(self.fetch()).await { Ok(self.cached().keys.get(id).cloned()) } else { Err(KeysUnavailableError) }
    }

    /// Fetches in the background, unless a fetch is in progress.
    pub(super) fn renew(self: &Arc<Self>) {
        if self.last_fetch.try_lock().is_ok() {
            let keys = Arc::clone(self);
            tokio::spawn(async move { keys.fetch().await });
        }
    }

    fn cached(&self) -> Arc<CachedKeys> {
        Arc::clone(&self.cache.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Fetches, unless the last fetch has just ended. Returns whether the last fetch succeeded.
    async fn fetch(&self) -> bool {
        let mut last = self.last_fetch.lock().await;
        if let Some((at, succeeded)) = *last
            && at.elapsed() < MIN_FETCH_INTERVAL
        {
            return succeeded;
        }
        let fetched = self.download().await;
        let succeeded = fetched.is_ok();
        match fetched {
            Ok(keys) => *self.cache.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys),
            Err(why) => {
                let what = "cannot fetch the keys of push tokens (AUTH_KEYS_URL); continuing with cached keys";
                tracing::warn!(url = self.url, why, "{what}");
            }
        }
        *last = Some((Instant::now(), succeeded));
        succeeded
    }

    async fn download(&self) -> Result<CachedKeys, String> {
        let wrong = |error: reqwest::Error| error_chain(&error);
        let answer = self.client.get(&self.url).send().await.map_err(wrong)?;
        if !answer.status().is_success() {
            return Err(format!("the answer is {}", answer.status()));
        }
        let control = answer.headers().get(CACHE_CONTROL).and_then(|value| value.to_str().ok());
        let fresh = control.and_then(max_age).unwrap_or(DEFAULT_FRESHNESS).clamp(MIN_FRESHNESS, MAX_FRESHNESS);
        let keys = read(&read_answer(answer, MAX_KEY_SET_BYTES).await?)?;
        Ok(CachedKeys { keys, fetched: Some((Instant::now(), fresh)) })
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
    use futures_util::FutureExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_stale_key_is_good_while_others_are_fetched_as_often_as_the_answer_says() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let keys = Arc::new(Keys::new(&format!("http://{}/", listener.local_addr().unwrap())).unwrap());
        let known = HashMap::from([("old".to_owned(), Arc::new(Key { n: vec![1], e: vec![1] }))]);
        let cached = CachedKeys { keys: known, fetched: Some((Instant::now(), Duration::ZERO)) };
        *keys.cache.lock().unwrap() = Arc::new(cached);
        // There is no response yet.
        assert!(keys.get("old").await.unwrap().is_some());
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(keys.get("old").await.unwrap().is_some());
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        let body = r#"{"keys": [{"kid": "new", "kty": "RSA", "n": "AQAB", "e": "AQAB"}]}"#;
        let head = "HTTP/1.1 200 OK\r\ncache-control: public, Max-Age=7200\r\nconnection: close";
        let answer = format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        // Waits for the fetch in progress.
        assert!(keys.get("new").await.unwrap().is_some());
        assert_eq!(keys.cached().fetched.unwrap().1, Duration::from_secs(7200));
        // A key that the issuer no longer has is refused, and nothing makes the process ask again so soon.
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
