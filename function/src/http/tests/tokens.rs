//! Identity tokens, checked against keys from a server of the test's own.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use axum::http::StatusCode;
use axum::routing::get;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use jiff::Timestamp;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{RSA_PKCS1_SHA256, RSA_PKCS1_SHA512, RsaEncoding, RsaKeyPair};

use super::*;

/// For these tests and nothing else.
const PRIVATE_KEY: &[u8] = include_bytes!("tokens/key.pk8");
const AUDIENCE: &str = "https://service.example.com/";
const CALLER: &str = "push@project.iam.gserviceaccount.com";

/// A server of keys that can be told to fail, and counts how often it is asked.
#[derive(Clone, Default)]
struct Issuer(Arc<(AtomicBool, AtomicUsize)>);

impl Issuer {
    async fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/keys", listener.local_addr().unwrap());
        let issuer = self.clone();
        let answer = async move || {
            issuer.0.1.fetch_add(1, Ordering::Relaxed);
            if issuer.0.0.load(Ordering::Relaxed) {
                return Err(StatusCode::INTERNAL_SERVER_ERROR);
            }
            let public = PublicKeyComponents::<Vec<u8>>::from(key().public());
            let [n, e] = [public.n, public.e].map(|number| BASE64_URL_SAFE_NO_PAD.encode(number));
            let key = json!({"kid": "one", "kty": "RSA", "alg": "RS256", "use": "sig", "n": n, "e": e});
            Ok(axum::Json(json!({"keys": [key]})))
        };
        let router = axum::Router::new().route("/keys", get(|| async move { answer().await }));
        tokio::spawn(crate::http::serve(listener, router, std::future::pending()));
        url
    }

    fn fail(&self) {
        self.0.0.store(true, Ordering::Relaxed);
    }

    fn asked(&self) -> usize {
        self.0.1.load(Ordering::Relaxed)
    }
}

async fn server(url: &str) -> Server {
    Server::start(&["--auth-audience", AUDIENCE, "--auth-emails", CALLER, "--auth-keys-url", url]).await
}

fn key() -> RsaKeyPair {
    RsaKeyPair::from_pkcs8(PRIVATE_KEY).unwrap()
}

fn part(value: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(value.to_string())
}

fn claims() -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": "https://accounts.google.com", "aud": AUDIENCE, "iat": now, "exp": now + 3600, "sub": "17",
        "email": CALLER, "email_verified": true})
}

/// The claims with some changed; null takes one away.
fn but(changes: Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

fn signed_with(header: &Value, claims: &Value, encoding: &'static dyn RsaEncoding) -> String {
    let text = format!("{}.{}", part(header), part(claims));
    let key = key();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(encoding, &SystemRandom::new(), text.as_bytes(), &mut signature).unwrap();
    format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

fn signed(claims: &Value) -> String {
    signed_with(&json!({"alg": "RS256", "kid": "one", "typ": "JWT"}), claims, &RSA_PKCS1_SHA256)
}

async fn status(server: &Server, token: &str) -> u16 {
    let request = server.client.post(server.url("/")).bearer_auth(token).body(push("hello", &json!({})));
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn the_caller_s_token_lets_in_and_no_other_does() {
    let issuer = Issuer::default();
    let server = server(&issuer.start().await).await;
    let good = signed(&claims());
    assert_eq!(status(&server, &good).await, 200);
    let now = Timestamp::now().as_second();
    // Within the leeway of clocks.
    assert_eq!(status(&server, &signed(&but(json!({"exp": now - 30, "iat": now + 30})))).await, 200);
    for (what, changes, expected) in [
        ("another account", json!({"email": "push@other.iam.gserviceaccount.com"}), 403),
        ("an account in capitals", json!({"email": CALLER.to_uppercase()}), 403),
        ("an unverified account", json!({"email_verified": false}), 401),
        ("no word on that", json!({"email_verified": null}), 401),
        ("no account", json!({"email": null}), 401),
        ("another audience", json!({"aud": "https://other.example.com/"}), 401),
        ("two audiences", json!({"aud": [AUDIENCE, "https://other.example.com/"]}), 401),
        ("another issuer", json!({"iss": "https://accounts.example.com"}), 401),
        ("expired", json!({"exp": now - 90}), 401),
        ("no expiry", json!({"exp": null}), 401),
        ("issued later", json!({"iat": now + 90}), 401),
        ("valid later", json!({"nbf": now + 90}), 401),
    ] {
        assert_eq!(status(&server, &signed(&but(changes))).await, expected, "{what}");
    }

    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid});
    let unsigned = format!("{}.{}.", part(&header("none", "one")), part(&claims()));
    // The public key as the secret of a symmetric signature.
    let secret = PublicKeyComponents::<Vec<u8>>::from(key().public()).n;
    let text = format!("{}.{}", part(&header("HS256", "one")), part(&claims()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &secret), text.as_bytes());
    let symmetric = format!("{text}.{}", BASE64_URL_SAFE_NO_PAD.encode(tag));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (first, _) = head.split_once('.').unwrap();
    let tampered = format!("{first}.{}.{signature}", part(&but(json!({"sub": "18"}))));
    let critical = json!({"alg": "RS256", "kid": "one", "crit": ["b64"], "b64": false});
    for (what, token) in [
        ("none", unsigned),
        ("HS256", symmetric),
        ("RS512", signed_with(&header("RS512", "one"), &claims(), &RSA_PKCS1_SHA512)),
        ("RS512 called RS256", signed_with(&header("RS256", "one"), &claims(), &RSA_PKCS1_SHA512)),
        ("unknown key", signed_with(&header("RS256", "two"), &claims(), &RSA_PKCS1_SHA256)),
        ("no key", signed_with(&json!({"alg": "RS256"}), &claims(), &RSA_PKCS1_SHA256)),
        ("an extension", signed_with(&critical, &claims(), &RSA_PKCS1_SHA256)),
        ("tampered", tampered),
        ("no signature", format!("{head}.")),
        ("cut off", head.to_owned()),
        ("too long", signed(&but(json!({"more": "x".repeat(9000)})))),
        ("nonsense", "a.b.c".to_owned()),
        ("nothing", String::new()),
    ] {
        assert_eq!(status(&server, &token).await, 401, "{what}");
    }
    // Once for all of the unknown keys, or not at all right after the fetch at the start.
    assert!((1..=2).contains(&issuer.asked()), "{}", issuer.asked());

    let answer = server.push("hello").await;
    assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    assert_eq!(problem(answer, 401).await.0, "unauthorized");
    let basic = server.client.post(server.url("/")).basic_auth("a", Some("b")).body("x").send().await.unwrap();
    assert_eq!(basic.status(), 401);
    // Only events are checked.
    for path in ["/health/live", "/metrics", "/"] {
        assert_eq!(server.get(path).await.status(), 200);
    }
    assert_eq!(server.task.batches(), [["hello"], ["hello"]]);
}

#[tokio::test]
async fn without_the_issuer_known_keys_go_on_and_unknown_ones_are_for_later() {
    let issuer = Issuer::default();
    let url = issuer.start().await;
    let known = server(&url).await;
    assert_eq!(status(&known, &signed(&claims())).await, 200);
    issuer.fail();
    assert_eq!(status(&known, &signed(&claims())).await, 200);
    let unknown = server(&url).await;
    let answer = unknown.client.post(unknown.url("/")).bearer_auth(signed(&claims())).body("x").send().await.unwrap();
    assert_eq!(problem(answer, 503).await.0, "no-keys");
}
