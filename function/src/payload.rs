//! The payload of a message: where it is, and what it holds.
//!
//! | the message has | the payload is |
//! |---|---|
//! | data | the data |
//! | a claim check: [`URI`], [`GENERATION`], [`SHA256`] | that generation of that object, if its digest is right |
//!
//! [`Payloads::resolve`] fetches claim checks, within bounds. [`read()`] and [`text()`] read a payload for a task.

mod read;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use google_cloud_gax::error::rpc::Code;
use google_cloud_storage::read_resume_policy::{ReadResumePolicyExt, Recommended};
use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clients::Clients;
use crate::digest::hex;
use crate::resource_names::check_bucket;
use crate::{Message, Outcome};
use infra::error_chain;

pub(crate) use read::rejected;
pub use read::{Payload, read, text};

/// The attribute with the object: `gs://BUCKET/OBJECT`. It makes a message a claim check.
pub const URI: &str = "payload-uri";
/// The attribute with the object's generation: a positive decimal number.
pub const GENERATION: &str = "payload-generation";
/// The attribute with the SHA-256 of the object's bytes: 64 hexadecimal digits.
pub const SHA256: &str = "payload-sha256";
/// All three.
pub(crate) const ATTRIBUTES: [&str; 3] = [URI, GENERATION, SHA256];

/// The most bytes of one fetched payload, unless set otherwise.
pub const MAX_PAYLOAD_BYTES: u64 = 64 << 20;

/// Fetches at the same time. Together with the largest payload it bounds the memory of fetches in progress.
const MAX_FETCHES: usize = 4;
/// How long a message may wait for a permit and its payload together: 64 MiB from a bucket in the same region take a
/// second or two.
const FETCH_TIMEOUT: Duration = Duration::from_secs(30);
/// How often one read is resumed after the connection broke.
const MAX_RESUMES: u32 = 3;

/// Fetches the payloads of claim checks.
#[derive(Debug)]
pub struct Payloads {
    clients: Arc<Clients>,
    buckets: BTreeSet<String>,
    max_bytes: u64,
    fetch_permits: Semaphore,
}

#[derive(Debug, PartialEq, Eq)]
struct Claim<'a> {
    bucket: &'a str,
    object: &'a str,
    generation: i64,
    /// Lower case.
    sha256: String,
}

impl Payloads {
    /// Fetches from these buckets alone, at most `max_bytes` each. Nothing connects yet.
    pub fn new(clients: &Arc<Clients>, buckets: impl IntoIterator<Item = String>, max_bytes: u64) -> Self {
        Self {
            clients: Arc::clone(clients),
            buckets: buckets.into_iter().collect(),
            max_bytes,
            fetch_permits: Semaphore::new(MAX_FETCHES),
        }
    }

    /// The message with its payload as data: unchanged if it is not a claim check, else with the object's bytes as data
    /// and the rest unchanged. Keep the original for the dead-letter topic: a fetched payload may be too large to
    /// publish.
    ///
    /// # Errors
    ///
    /// - [`Outcome::Rejected`] with reason `bad-claim-check` (an attribute is missing or malformed),
    ///   `payload-bucket-refused`, `payload-missing` (no such object or generation), `payload-too-large`, or
    ///   `payload-digest-mismatch`
    /// - [`Outcome::Retry`] when the storage fails or does not let this process read
    pub async fn resolve<'a>(&self, message: &'a Message) -> Result<Cow<'a, Message>, Outcome> {
        let Some(claim) = Claim::of(message)? else {
            return Ok(Cow::Borrowed(message));
        };
        if !self.buckets.contains(claim.bucket) {
            return Err(Outcome::rejected(
                "payload-bucket-refused",
                format!(
                    "payloads are not taken from bucket `{}`; put the object into one that this service reads from",
                    claim.bucket
                ),
            ));
        }
        // Boxed: the client's futures have kilobytes, and every message would carry their size.
        let data = match timeout(FETCH_TIMEOUT, Box::pin(self.fetch(&claim))).await {
            Ok(fetched) => fetched?,
            Err(_) => {
                tracing::warn!(bucket = claim.bucket, object = claim.object, "payload not read in {FETCH_TIMEOUT:?}");
                return Err(unreadable());
            }
        };
        Ok(Cow::Owned(Message { data, ..message.clone() }))
    }

    async fn fetch(&self, claim: &Claim<'_>) -> Result<Bytes, Outcome> {
        let _permit = self.fetch_permits.acquire().await.map_err(|_| unreadable())?;
        let client = self.clients.storage().await.map_err(|error| {
            tracing::error!(error = %error, "no storage client");
            unreadable()
        })?;
        let mut object = client
            .read_object(format!("projects/_/buckets/{}", claim.bucket), claim.object)
            .set_generation(claim.generation)
            .with_read_resume_policy(Recommended.with_attempt_limit(MAX_RESUMES))
            .send()
            .await
            .map_err(|error| claim.explain(&error))?;
        let too_large = |size: u64| {
            Outcome::rejected(
                "payload-too-large",
                format!(
                    "the object has {size} bytes or more, and a payload at most {}; split the work over more messages",
                    self.max_bytes
                ),
            )
        };
        let size = u64::try_from(object.object().size).unwrap_or(0);
        if size > self.max_bytes {
            return Err(too_large(size));
        }
        // The size that the server reports is used to reserve memory, within the bound, and is not relied upon.
        let mut data = BytesMut::with_capacity(usize::try_from(size).unwrap_or(0));
        let mut digest = Sha256::new();
        while let Some(chunk) = object.next().await {
            let chunk = chunk.map_err(|error| claim.explain(&error))?;
            let total = (data.len() + chunk.len()) as u64;
            if total > self.max_bytes {
                return Err(too_large(total));
            }
            digest.update(&chunk);
            data.extend_from_slice(&chunk);
        }
        let found = hex(&digest.finalize());
        if found != claim.sha256 {
            return Err(Outcome::rejected(
                "payload-digest-mismatch",
                format!("the object's SHA-256 is {found}, and {SHA256} says {}", claim.sha256),
            ));
        }
        Ok(data.freeze())
    }
}

impl<'a> Claim<'a> {
    /// `None` without `payload-uri`.
    fn of(message: &'a Message) -> Result<Option<Self>, Outcome> {
        let Some(uri) = message.attributes.get(URI) else {
            return Ok(None);
        };
        let bad = |detail: String| Outcome::rejected("bad-claim-check", detail);
        let attribute = |name: &str| {
            let value = message.attributes.get(name);
            value.ok_or_else(|| bad(format!("{URI} needs the attribute {name} beside it")))
        };
        let (bucket, object) = uri
            .strip_prefix("gs://")
            .and_then(|rest| rest.split_once('/'))
            .filter(|(bucket, object)| check_bucket(bucket).is_ok() && !object.is_empty() && object.len() <= 1024)
            .ok_or_else(|| bad(format!("{URI} is no gs://BUCKET/OBJECT")))?;
        let generation = attribute(GENERATION)?;
        let generation = Some(generation)
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse::<i64>().ok())
            .filter(|&number| number > 0)
            .ok_or_else(|| bad(format!("{GENERATION} is no positive number")))?;
        let sha256 = attribute(SHA256)?;
        if sha256.len() != 64 || !sha256.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(bad(format!("{SHA256} is not 64 hexadecimal digits")));
        }
        Ok(Some(Self { bucket, object, generation, sha256: sha256.to_ascii_lowercase() }))
    }

    fn explain(&self, error: &google_cloud_storage::Error) -> Outcome {
        let missing =
            error.http_status_code() == Some(404) || error.status().is_some_and(|status| status.code == Code::NotFound);
        if missing {
            return Outcome::rejected(
                "payload-missing",
                format!("there is no generation {} of the object in {URI}", self.generation),
            );
        }
        // Not allowed is a Retry too: an operator grants roles/storage.objectUser and the message goes through.
        let error = error_chain(error);
        tracing::warn!(bucket = self.bucket, object = self.object, error, "cannot read a payload");
        unreadable()
    }
}

fn unreadable() -> Outcome {
    Outcome::retry("the payload could not be read from storage; it will be tried again")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(attributes: &[(&str, &str)]) -> Message {
        Message {
            attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..Message::default()
        }
    }

    #[test]
    fn a_claim_is_three_attributes() {
        let digest = "AB".repeat(32);
        let message = message(&[(URI, "gs://bucket/a/b.json"), (GENERATION, "17"), (SHA256, &digest)]);
        let claim = Claim::of(&message).unwrap().unwrap();
        assert_eq!((claim.bucket, claim.object, claim.generation), ("bucket", "a/b.json", 17));
        assert_eq!(claim.sha256, digest.to_lowercase());
    }

    #[test]
    fn malformed_claims_are_rejected_by_name() {
        let digest = "0".repeat(64);
        for (uri, generation, sha256, named) in [
            ("gs://bucket", Some("1"), Some(digest.as_str()), URI),
            ("gs://bucket/", Some("1"), Some(&digest), URI),
            ("http://bucket/o", Some("1"), Some(&digest), URI),
            ("gs://b/../o", Some("1"), Some(&digest), URI),
            ("gs://bucket/o", None, Some(&digest), GENERATION),
            ("gs://bucket/o", Some("0"), Some(&digest), GENERATION),
            ("gs://bucket/o", Some("-1"), Some(&digest), GENERATION),
            ("gs://bucket/o", Some("+1"), Some(&digest), GENERATION),
            ("gs://bucket/o", Some("9223372036854775808"), Some(&digest), GENERATION),
            ("gs://bucket/o", Some("1"), None, SHA256),
            ("gs://bucket/o", Some("1"), Some("abc"), SHA256),
        ] {
            let mut attributes = vec![(URI, uri)];
            attributes.extend(generation.map(|value| (GENERATION, value)));
            attributes.extend(sha256.map(|value| (SHA256, value)));
            match Claim::of(&message(&attributes)) {
                Err(Outcome::Rejected { reason: "bad-claim-check", detail }) => {
                    assert!(detail.contains(named), "{attributes:?}: {detail}");
                }
                other => panic!("{attributes:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn without_uri_it_is_no_claim() {
        assert_eq!(Claim::of(&message(&[(SHA256, "x"), (GENERATION, "y")])), Ok(None));
    }

    proptest! {
        #[test]
        fn any_attributes_are_read_without_panic(
            uri in "(gs://)?\\PC{0,30}", generation in "\\PC{0,20}", sha256 in "\\PC{0,70}",
        ) {
            let message = message(&[(URI, &uri), (GENERATION, &generation), (SHA256, &sha256)]);
            let _ = Claim::of(&message);
        }
    }
}
