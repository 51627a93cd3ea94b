//! Whatever a message holds, it can be dead-lettered, its result can be published, and its dead letter can be
//! published to the work topic again.

mod fussy;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use function::dead_letter::Original;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use tests::{Function, PubSub, Received, Storage, unique, xtask};

on_every_pubsub!(
    every_message_ends_as_exactly_one_dead_letter,
    a_result_goes_out_whatever_attributes_its_message_has,
    a_letter_sent_round_again_is_the_message_that_it_was,
    data_that_no_letter_can_hold_is_in_the_bucket,
);

const LABELS: [&str; 6] = ["reason", "detail", "service", "source-topic", "source-message-id", "time"];
const ROUNDS: usize = 40;

/// A message with attributes of a producer and of Pub/Sub.
#[derive(Debug)]
struct Sent {
    attributes: BTreeMap<String, String>,
    ordering_key: String,
    data: Vec<u8>,
}

impl Sent {
    /// The push that delivers it.
    fn push(&self, id: usize) -> Value {
        json!({
            "message": {
                "messageId": id.to_string(),
                "publishTime": "2026-11-24T10:00:00Z",
                "data": BASE64_STANDARD.encode(&self.data),
                "attributes": self.attributes,
                "orderingKey": self.ordering_key,
            },
            "subscription": "projects/p/subscriptions/s",
        })
    }

    /// The CloudEvent of another type with the same attributes.
    fn event(&self, id: usize) -> Value {
        let mut event = json!({"specversion": "1.0", "id": id.to_string(), "source": "//s", "type": "t",
            "data_base64": BASE64_STANDARD.encode(&self.data)});
        event.as_object_mut().unwrap().extend(self.attributes.iter().map(|(k, v)| (k.clone(), json!(v))));
        event
    }
}

fn attribute() -> impl Strategy<Value = (String, String)> {
    let name = prop_oneof![
        6 => "[a-z]{2,12}",
        2 => "[a-zA-Z0-9 éß語\"\\\\=.-]{1,20}",
        2 => "googclient_(schemaname|schemaencoding|schemarevisionid|traceparent|tracestate|other)",
        1 => "Goog[a-z]{1,9}",
        1 => "[a-z]".prop_map(|letter| letter.repeat(256)),
        1 => "x[\\x00-\\x1f]{1,4}",
        1 => "dead-letter-(reason|detail|time|left-out|lost|original|original-2|data-uri|other)",
        1 => "CloudPubSubDeadLetterSource(DeliveryCount|Subscription)",
    ];
    let value = prop_oneof![
        4 => "\\PC{0,20}",
        2 => "[\\x00-\\x1f\"\\\\é]{0,100}",
        1 => Just("v".repeat(1024)),
        1 => Just("\0".repeat(1024)),
        1 => Just(r#"{"attributes":{"from":"an earlier letter"}}"#.to_owned()),
    ];
    (name, value)
}

fn sent() -> impl Strategy<Value = Sent> {
    let long = || (0..1024_usize).prop_map(|length| "v".repeat(length));
    let attributes = prop_oneof![
        3 => vec(attribute(), 0..8),
        1 => vec(attribute(), 90..99),
        1 => btree_map("[a-z]{3,6}", long(), 99).prop_map(|map| map.into_iter().collect()),
        1 => btree_map("[a-z]{3,6}", "[a-z]{0,9}", 92..=99).prop_map(|map| map.into_iter().collect()),
        1 => btree_map("x{252}[a-z]{4}", Just("v".repeat(1024)), 99).prop_map(|map| map.into_iter().collect()),
    ];
    let data = vec(any::<u8>(), 0..50);
    (attributes, "|\\PC{1,20}|k{1024}|[\\x00-\\x1f]{1,9}", data).prop_map(|(attributes, ordering_key, data)| {
        let mut attributes: BTreeMap<String, String> = attributes.into_iter().collect();
        attributes.insert("task".into(), "nobody-s".into());
        Sent { attributes, ordering_key, data }
    })
}

async fn every_message_ends_as_exactly_one_dead_letter(pubsub: &PubSub) {
    let (topic, subscription) = pubsub.create_topic_and_subscription(&unique("dead-lettered")).await;
    let function = Function::start(&[("PUBSUB_EMULATOR_HOST", pubsub.host()), ("DEAD_LETTER_TOPIC", &topic)]).await;
    let mut random = TestRunner::deterministic();
    let mut all: Vec<(Sent, bool)> = Vec::new();
    for id in 0..ROUNDS {
        let mut message = sent().new_tree(&mut random).unwrap().current();
        if id == 0 {
            message.data = vec![0x80; 10_000_000];
            message.attributes = (0..100).map(|n| (format!("{n:0256}"), "v".repeat(1024))).collect();
            message.attributes.pop_last();
            message.attributes.insert("task".into(), "nobody-s".into());
        }
        // An event has neither an ordering key nor names in other letters.
        let event = id % 4 == 3 && message.attributes.keys().all(|name| !name.starts_with("data"));
        let (kind, body) = match event {
            true => ("application/cloudevents+json", message.event(id)),
            false => ("application/json", message.push(id)),
        };
        let answer = function.post(&[("content-type", kind)], body.to_string()).await;
        let status = answer.status();
        let answer: Value = answer.json().await.unwrap();
        assert_eq!((status.as_u16(), &answer["outcome"]), (200, &json!("rejected")), "{answer}\n{message:?}");
        all.push((message, event));
    }
    let letters = pubsub.pull(&subscription, ROUNDS, Duration::from_secs(60)).await;
    assert_eq!(letters.len(), ROUNDS);
    let ids: BTreeSet<&str> = letters.iter().map(|letter| letter.attribute("dead-letter-source-message-id")).collect();
    assert_eq!(ids.len(), ROUNDS, "twice");
    assert!(pubsub.pull(&subscription, 1, Duration::from_millis(50)).await.is_empty());
    let mut in_place = 0;
    for letter in &letters {
        let id: usize = letter.attribute("dead-letter-source-message-id").parse().unwrap();
        let (message, event) = &all[id];
        in_place += usize::from(reads_as(letter, message, *event));
        assert!(LABELS.iter().all(|label| letter.attributes.contains_key(&format!("dead-letter-{label}"))));
        assert_eq!(letter.attribute("dead-letter-reason"), "unknown-task");
    }
    println!("{ROUNDS} messages, {in_place} of the letters have everything in its place");
}

/// Checks that everything of the message is in its dead letter, or reported there as lost. Returns whether all of it
/// is where it belongs.
fn reads_as(letter: &Received, message: &Sent, event: bool) -> bool {
    assert_eq!(letter.data, message.data);
    let ours = |name: &str| name.starts_with("dead-letter-");
    let own = |attributes: &BTreeMap<String, String>| -> BTreeMap<String, String> {
        attributes.iter().filter(|(name, _)| !ours(name)).map(|(k, v)| (k.clone(), v.clone())).collect()
    };
    let found = Original::of(&letter.attributes, &letter.ordering_key);
    let before = Original::of(&message.attributes, if event { "" } else { &message.ordering_key });
    if found.lost == before.lost {
        assert_eq!(own(&found.attributes), own(&before.attributes));
    }
    assert_eq!(found.ordering_key, before.ordering_key);
    for name in found.attributes.keys().filter(|name| !letter.attributes.contains_key(*name)) {
        let text = letter.attribute("dead-letter-left-out");
        let shown: String = name.chars().take(20).map(|c| if c.is_control() { ' ' } else { c }).collect();
        assert!(text.contains(&shown) || text.contains(" more"), "{name:?} is not in {text:?}");
    }
    own(&letter.attributes) == own(&message.attributes)
}

async fn a_result_goes_out_whatever_attributes_its_message_has(pubsub: &PubSub) {
    let (results, subscription) = pubsub.create_topic_and_subscription(&unique("burdened")).await;
    let variables = [("PUBSUB_EMULATOR_HOST", pubsub.host()), ("RESULTS", &results)];
    let function = Function::start(&variables).await;
    let mut random = TestRunner::deterministic();
    for id in 0..ROUNDS / 2 {
        let mut message = sent().new_tree(&mut random).unwrap().current();
        message.attributes.insert("task".into(), "embed".into());
        message.data = b"text".into();
        let answer = function.post(&[("content-type", "application/json")], message.push(id).to_string()).await;
        assert_eq!(answer.status(), 204, "{message:?}");
        let result = pubsub.pull_one(&subscription).await;
        assert_eq!((result.attribute("source-message-id"), result.attribute("task")), (&*id.to_string(), "embed"));
        let lost: Vec<&String> =
            message.attributes.keys().filter(|name| !result.attributes.contains_key(*name)).collect();
        assert_eq!(lost.is_empty(), result.attribute("attributes-left-out").is_empty(), "{lost:?}");
        assert!(result.attributes.keys().all(|name| !name.starts_with("goog") || name.contains("trace")));
    }
}

async fn a_letter_sent_round_again_is_the_message_that_it_was(pubsub: &PubSub) {
    let (dead, holds) = pubsub.create_topic_and_subscription(&unique("round-dead")).await;
    let (work, watch) = pubsub.create_topic_and_subscription(&unique("round-work")).await;
    let function = Function::start(&[("PUBSUB_EMULATOR_HOST", pubsub.host()), ("DEAD_LETTER_TOPIC", &dead)]).await;
    let mut attributes: BTreeMap<String, String> = (0..95).map(|n| (format!("name-{n}"), "v".repeat(n))).collect();
    attributes.insert("task".into(), "nobody-s".into());
    attributes.insert("googclient_traceparent".into(), "t".into());
    let reserved = ["encoding", "name", "revisionid"].map(|end| (format!("googclient_schema{end}"), "x".to_owned()));
    let all = attributes.clone().into_iter().chain(reserved).collect();
    let message = Sent { attributes: all, ordering_key: "key".into(), data: b"data\0".into() };
    let answer = function.post(&[("content-type", "application/json")], message.push(1).to_string()).await;
    assert_eq!(answer.status(), 200);

    let run = |arguments: &[&str]| {
        let variables =
            [("PUBSUB_EMULATOR_HOST", pubsub.host().to_owned()), ("GOOGLE_CLOUD_PROJECT", pubsub.project().to_owned())];
        xtask(&[&["dlq"], arguments, &["--subscription", &holds, "--wait", "2", "--json"]].concat(), &variables)
            .ok()
            .json()
    };
    let listed = run(&["list", "--where", "attributes.name-0 = \"\" AND attributes.googclient_schemaname = \"x\""]);
    let letter = &listed["messages"][0];
    assert!(letter["leftOut"].as_str().unwrap().contains("googclient_schemaencoding"), "{listed}");
    assert_eq!(letter["leftOutAttributes"]["googclient_schemarevisionid"], "x");
    let done = run(&["redrive", "--topic", &work]);
    assert_eq!(done["redriven"], 1, "{done}");
    let copy = pubsub.pull_one(&watch).await;
    assert_eq!((&copy.data[..], copy.ordering_key.as_str()), (&b"data\0"[..], "key"));
    attributes.insert("redrive-count".into(), "1".into());
    assert_eq!(copy.attributes, attributes);
}

async fn data_that_no_letter_can_hold_is_in_the_bucket(pubsub: &PubSub) {
    let Some(storage) = Storage::shared() else { return };
    let bucket = unique("letters");
    storage.create_bucket(&bucket).await;
    let (dead, holds) = pubsub.create_topic_and_subscription(&unique("large-dead")).await;
    let (work, watch) = pubsub.create_topic_and_subscription(&unique("large-work")).await;
    let results = format!("gs://{bucket}/out/");
    let host = [("PUBSUB_EMULATOR_HOST", pubsub.host()), ("DEAD_LETTER_TOPIC", &dead)];
    let data = vec![b'x'; 10_500_000];
    let event = |id: usize| {
        let attributes = BTreeMap::from([("task".to_owned(), "nobody-s".to_owned())]);
        Sent { attributes, ordering_key: String::new(), data: data.clone() }.event(id).to_string()
    };
    let structured = [("content-type", "application/cloudevents+json")];

    // Without a bucket the end is lost, and the letter says so and is not sent round.
    let function = Function::start(&host).await;
    assert_eq!(function.post(&structured, event(1)).await.status(), 200);
    let letter = pubsub.pull_one(&holds).await;
    assert!(letter.data.len() <= 10_000_000 && data.starts_with(&letter.data) && letter.data.len() > 9_990_000);
    assert!(letter.attribute("dead-letter-lost").contains("10500000 bytes"), "{:?}", letter.attributes);

    let with_bucket = [("STORAGE_EMULATOR_HOST", storage.host()), ("RESULTS", &results)];
    let function = Function::start(&[&host[..], &with_bucket].concat()).await;
    assert_eq!(function.post(&structured, event(2)).await.status(), 200);
    let variables =
        [("PUBSUB_EMULATOR_HOST", pubsub.host().to_owned()), ("GOOGLE_CLOUD_PROJECT", pubsub.project().to_owned())];
    let arguments = ["dlq", "redrive", "--subscription", &holds, "--topic", &work, "--wait", "2", "--json"];
    assert_eq!(xtask(&arguments, &variables).ok().json()["redriven"], 1);
    let copy = pubsub.pull_one(&watch).await;
    assert_eq!((copy.data.len(), copy.attributes.contains_key("dead-letter-data-uri")), (0, false));
    let uri = copy.attribute("payload-uri");
    let object = uri.strip_prefix(&format!("gs://{bucket}/")).unwrap();
    assert!(object.starts_with("out/dead-letters/") && storage.read(&bucket, object).await.unwrap() == data);
    assert!(uri.ends_with(copy.attribute("payload-sha256")));
}

fn contains(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[tokio::test]
async fn a_rule_that_is_not_documented_keeps_no_message_from_its_letter() {
    // An attribute of this name and an ordering key, as fields of the encoded message, and a size. Either may stand
    // in another attribute's value.
    let (name, key) = ("\n\x06poison\x12", "\x2a\x05*key*");
    let takes = move |body: &[u8]| !contains(body, name) && !contains(body, key) && body.len() <= 10_000_300;
    let (host, requests) = fussy::start(takes).await;
    let variables = [("PUBSUB_EMULATOR_HOST", &*host), ("DEAD_LETTER_TOPIC", "projects/p/topics/dead")];
    let function = Function::start(&variables).await;
    let sent = |name: &str, ordering_key: &str, length: usize| {
        let attributes = [("task".to_owned(), "nobody-s".to_owned()), (name.to_owned(), "v".to_owned())];
        let message =
            Sent { attributes: attributes.into(), ordering_key: ordering_key.into(), data: vec![b'.'; length] };
        message.push(1).to_string()
    };
    for (body, tries) in [
        (sent("harmless", "", 1), 1),
        (sent("poison", "", 1), 2),
        (sent("harmless", "*key*", 1), 2),
        (sent("harmless", "", 10_000_000), 3),
        (sent("poison", "*key*", 10_000_000), 4),
    ] {
        let answer = function.post(&[("content-type", "application/json")], body).await;
        assert_eq!(answer.status(), 200, "after {tries} tries: {}", answer.text().await.unwrap());
        let all = std::mem::take(&mut *requests.lock().unwrap());
        let taken: Vec<bool> = all.iter().map(|(_, taken)| *taken).collect();
        assert_eq!(taken, [vec![false; tries - 1], vec![true]].concat());
        let (last, _) = &all[tries - 1];
        assert_eq!(contains(last, "dead-letter-left-out"), tries > 1);
        assert!(contains(last, "poison") || tries == 1 || !contains(&all[0].0, "poison"));
    }
}

#[tokio::test]
async fn a_dead_letter_topic_that_takes_nothing_leaves_the_message_with_its_sender() {
    let (host, requests) = fussy::start(|_| false).await;
    let variables = [("PUBSUB_EMULATOR_HOST", &*host), ("DEAD_LETTER_TOPIC", "projects/p/topics/dead")];
    let function = Function::start(&variables).await;
    let (status, answer) = function.push("x", &[("task", "nobody-s"), ("a", "b")]).await;
    assert_eq!((status, &answer["outcome"]), (503, &json!("retry")));
    assert_eq!(requests.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_result_that_is_refused_goes_out_without_what_its_message_brought() {
    let (host, requests) = fussy::start(|body| !contains(body, "\n\x06poison\x12")).await;
    let variables = [("PUBSUB_EMULATOR_HOST", &*host), ("RESULTS", "projects/p/topics/results")];
    let function = Function::start(&variables).await;
    assert_eq!(function.push("x", &[("poison", "v"), ("other", "w")]).await.0, 204);
    let all = requests.lock().unwrap();
    assert_eq!(all.len(), 2);
    assert!(contains(&all[1].0, "attributes-left-out\x12\x0dother, poison") && contains(&all[1].0, "ce-id"));
}
