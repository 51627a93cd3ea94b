//! Claim checks on fake-gcs-server.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use function::clients::{Clients, Cloud};
use function::{Message, Outcome, Payloads};
use sha2::{Digest, Sha256};
use tests::{Storage, free_port, unique};

const MAX: usize = 1 << 20;

fn payloads(storage: &str, bucket: &str) -> Payloads {
    let cloud = Cloud { storage_emulator: Some(storage.to_owned()), ..Cloud::default() };
    let clients = Arc::new(Clients::with_deadline(cloud, std::time::Duration::from_millis(300)));
    Payloads::new(&clients, [bucket.to_owned()], MAX as u64)
}

fn claim(bucket: &str, object: &str, generation: i64, data: &[u8]) -> Message {
    let digest: String = Sha256::digest(data).iter().map(|byte| format!("{byte:02x}")).collect();
    Message {
        id: "17".into(),
        data: Bytes::from_static(b"inline"),
        attributes: [
            ("payload-uri", format!("gs://{bucket}/{object}")),
            ("payload-generation", generation.to_string()),
            ("payload-sha256", digest),
            ("task", "embed".to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into(),
        ..Message::default()
    }
}

fn reason(resolved: Result<Cow<'_, Message>, Outcome>) -> &'static str {
    match resolved {
        Err(Outcome::Rejected { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_claim_check_is_the_object_of_its_generation() {
    let Some(storage) = Storage::shared() else {
        return;
    };
    let bucket = unique("claims");
    storage.create_bucket(&bucket).await;
    let payloads = payloads(storage.host(), &bucket);
    let object = "in put/é.json";
    let data: Vec<u8> = (0..MAX).map(|n| (n % 251) as u8).collect();
    let generation = storage.write(&bucket, object, data.clone()).await;
    let message = claim(&bucket, object, generation, &data);

    let resolved = payloads.resolve(&message).await.unwrap();
    assert!(resolved.data == data);
    assert_eq!(Message { data: message.data.clone(), ..resolved.into_owned() }, message);

    let newer = storage.write(&bucket, object, "newer").await;
    let claim = claim(&bucket, object, newer, b"newer");
    let resolved = payloads.resolve(&claim).await.unwrap();
    assert_eq!(resolved.data, "newer");
    // The stand-in keeps no old generations, as a bucket without versioning: the claimed one is gone.
    assert_eq!(reason(payloads.resolve(&message).await), "payload-missing");
}

#[tokio::test]
async fn what_is_no_claim_check_passes_as_it_came() {
    let payloads = payloads("127.0.0.1:1", "some-bucket");
    let message = Message { data: "inline".into(), ..Message::default() };
    assert_eq!(payloads.resolve(&message).await.map(Cow::into_owned), Ok(message.clone()));
}

#[tokio::test]
async fn wrong_missing_large_and_foreign_objects_are_rejected() {
    let Some(storage) = Storage::shared() else {
        return;
    };
    let (bucket, foreign) = (unique("claims"), unique("foreign"));
    storage.create_bucket(&bucket).await;
    storage.create_bucket(&foreign).await;
    let payloads = payloads(storage.host(), &bucket);

    let generation = storage.write(&bucket, "o", "right").await;
    let wrong = claim(&bucket, "o", generation, b"wrong");
    assert_eq!(reason(payloads.resolve(&wrong).await), "payload-digest-mismatch");

    let missing = claim(&bucket, "other", generation, b"right");
    assert_eq!(reason(payloads.resolve(&missing).await), "payload-missing");

    let data = vec![0; MAX + 1];
    let generation = storage.write(&bucket, "large", data.clone()).await;
    let large = claim(&bucket, "large", generation, &data);
    assert_eq!(reason(payloads.resolve(&large).await), "payload-too-large");

    let generation = storage.write(&foreign, "o", "right").await;
    let elsewhere = claim(&foreign, "o", generation, b"right");
    assert_eq!(reason(payloads.resolve(&elsewhere).await), "payload-bucket-refused");

    let mut incomplete = claim(&bucket, "o", 1, b"right");
    incomplete.attributes.remove("payload-sha256");
    assert_eq!(reason(payloads.resolve(&incomplete).await), "bad-claim-check");
}

#[tokio::test]
async fn storage_that_does_not_answer_is_a_retry() {
    let unreachable = format!("127.0.0.1:{}", free_port());
    let message = claim("some-bucket", "o", 1, b"right");
    let resolved = payloads(&unreachable, "some-bucket").resolve(&message).await;
    assert!(matches!(resolved, Err(Outcome::Retry { .. })), "{resolved:?}");
}
