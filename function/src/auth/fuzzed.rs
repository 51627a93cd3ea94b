//! Damaged push tokens. How it is run: the crate `fuzz`.

use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine};
use fuzz::{Damaged, Hits};

use super::token::Token;

const HEADERS: [&str; 2] = [r#"{"alg":"RS256","kid":"one","typ":"JWT"}"#, r#"{"alg":"none"}"#];
const CLAIMS: [&str; 1] = [
    r#"{"iss":"https://accounts.google.com","aud":"https://service.example.com/","exp":1764000000,
    "iat":1763996400,"nbf":1763996400,"sub":"17","email":"push@project.iam.gserviceaccount.com","email_verified":true}"#,
];

/// Header, claims, the length of the signature, and what happens to the whole token.
type Parts = (Damaged, Damaged, u8, Hits);

/// Every input is decoded or refused, and a token that is accepted says what its parts say.
#[test]
fn tokens_are_what_they_say() {
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(header, claims, signature, encoded): &Parts| {
            let [header, claims] = [header.bytes(&HEADERS, fuzz::JSON), claims.bytes(&CLAIMS, fuzz::JSON)];
            let [first, second] = [&header, &claims].map(|part| BASE64_URL_SAFE_NO_PAD.encode(part));
            let signature = BASE64_URL_SAFE_NO_PAD.encode(vec![7; usize::from(*signature)]);
            let mut text = format!("{first}.{second}.{signature}").into_bytes();
            encoded.apply(&mut text, &CLAIMS, &[".", "=", "-", "_"]);
            let text = String::from_utf8_lossy(&text);
            let Ok(token) = Token::read(&text) else { return };
            assert!(text.as_bytes().starts_with(token.signed) && token.signature.len() < text.len());
            let (audience, now) = ("https://service.example.com/", 1_763_998_000);
            if token.check(audience, now).is_ok() {
                let claims = text.split('.').nth(1).unwrap();
                let claims = BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap();
                assert!(std::str::from_utf8(&claims).is_ok());
                // Half a surrogate pair in a claim that is not read is not valid JSON for serde either.
                let Ok(claims) = serde_json::from_slice::<serde_json::Value>(&claims) else { return };
                assert_eq!(claims["aud"], audience);
                assert!(claims["exp"].as_i64().unwrap() > now - 60 && claims["iat"].as_i64().unwrap() <= now + 60);
                let verified = claims["email_verified"] == true;
                assert_eq!(token.email(), claims["email"].as_str().filter(|_| verified));
            }
        },
    );
}

#[test]
fn claims_are_utf8_to_the_last() {
    let header = BASE64_URL_SAFE_NO_PAD.encode(HEADERS[0]);
    let claims = |subject: &[u8]| {
        let (start, end) = CLAIMS[0].split_once("17\",").unwrap();
        BASE64_URL_SAFE_NO_PAD.encode([start.as_bytes(), subject, b"\",", end.as_bytes()].concat())
    };
    assert!(Token::read(&format!("{header}.{}.AAAA", claims(b"18"))).is_ok());
    assert!(Token::read(&format!("{header}.{}.AAAA", claims(b"\xff"))).is_err());
}
