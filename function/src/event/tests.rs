//! The decoder against hand-written requests, against `cloudevents-sdk`, and against random ones.

mod forms;
mod fuzzed;
mod limits;
mod nulls;
mod refused;
mod sdk;
mod traps;

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};

use super::*;

/// A request: its headers and its body.
type Request = (Vec<(&'static str, &'static str)>, String);

const TOPIC: &str = "//pubsub.googleapis.com/projects/p/topics/t";
const SUBSCRIPTION: &str = "projects/p/subscriptions/s";
const STRUCTURED: &str = "application/cloudevents+json";
/// The headers of a CloudEvent in structured mode.
const JSON: [(&str, &str); 1] = [("content-type", STRUCTURED)];
const BATCH: &str = "application/cloudevents-batch+json";

/// A push body as Pub/Sub sends it: both spellings, a delivery attempt, an ordering key.
const PUSH: &str = r#"{"message":{"attributes":{"task":"embed","idempotency-key":"k 1"},"data":"eyJpbnB1dCI6ImjDqSJ9",
  "messageId":"2070443601311540","message_id":"2070443601311540","orderingKey":"user-7",
  "publishTime":"2026-11-20T10:11:12.345Z","publish_time":"2026-11-20T10:11:12.345Z"},
  "deliveryAttempt":3,"subscription":"projects/p/subscriptions/s"}"#;

/// The headers of a CloudEvent in binary mode.
const EVENTARC: [(&str, &str); 6] = [
    ("ce-id", "2070443601311540"),
    ("ce-source", TOPIC),
    ("ce-specversion", "1.0"),
    ("ce-type", PUBSUB_TYPE),
    ("ce-time", "2026-11-20T10:11:12.345Z"),
    ("content-type", "application/json; charset=utf-8"),
];

/// What [`PUSH`] holds when nothing is around it.
fn pushed() -> Message {
    Message {
        id: "2070443601311540".into(),
        source: format!("//pubsub.googleapis.com/{SUBSCRIPTION}"),
        kind: PUBSUB_TYPE.into(),
        time: "2026-11-20T10:11:12.345Z".into(),
        data: r#"{"input":"hé"}"#.into(),
        content_type: String::new(),
        attributes: attributes(&[("task", "embed"), ("idempotency-key", "k 1")]),
        ordering_key: "user-7".into(),
        delivery_attempt: Some(3),
        subscription: SUBSCRIPTION.into(),
    }
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect()
}

fn header_map<K: AsRef<[u8]>, V: AsRef<[u8]>>(pairs: &[(K, V)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        headers
            .append(HeaderName::from_bytes(name.as_ref()).unwrap(), HeaderValue::from_bytes(value.as_ref()).unwrap());
    }
    headers
}

fn run(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Result<Incoming, EventError> {
    decode(&header_map(headers), body.into())
}

/// The one message of a request.
#[track_caller]
fn one(headers: &[(&str, &str)], body: impl Into<Bytes>) -> Message {
    match run(headers, body) {
        Ok(Incoming::One(message)) => message,
        other => panic!("not one message: {other:?}"),
    }
}

/// The entries of a batch.
#[track_caller]
fn many(body: impl Into<Bytes>) -> Vec<Result<Message, EventError>> {
    match run(&[("content-type", BATCH)], body) {
        Ok(Incoming::Batch(entries)) => entries,
        other => panic!("not a batch: {other:?}"),
    }
}

/// The stable word of the error, and its message.
#[track_caller]
fn error(headers: &[(&str, &str)], body: impl Into<Bytes>) -> (&'static str, String) {
    let error = run(headers, body).unwrap_err();
    assert_presentable(&error);
    (error.code(), error.to_string())
}

/// Fails unless [`error`] found this code and a message with these words.
#[track_caller]
fn assert_error(found: (&'static str, String), code: &str, says: &str) {
    assert_eq!(found.0, code, "{}", found.1);
    assert!(found.1.contains(says), "{:?} does not say {says:?}", found.1);
}

/// The error of a push with these fields in its message.
#[track_caller]
fn push_error(fields: &str) -> (&'static str, String) {
    error(&[], format!(r#"{{"message":{{"messageId":"1",{fields}}}}}"#))
}

/// The text of an error is short and has no character that controls a terminal or a log.
#[track_caller]
fn assert_presentable(error: &EventError) {
    let text = error.to_string();
    assert!(text.len() < 700, "{} bytes: {text}", text.len());
    assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
    assert!(error.code().bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
}

/// A CloudEvent of another type, in structured mode, with more members.
fn event(members: &str) -> String {
    format!(r#"{{"specversion":"1.0","id":"e1","source":"/s","type":"com.example.made"{members}}}"#)
}

/// One real request for each form.
fn requests() -> Vec<Request> {
    let structured_push = format!(
        r#"{{"specversion":"1.0","id":"2070443601311540","source":"{TOPIC}","type":"{PUBSUB_TYPE}",
            "time":"2026-11-20T10:11:12.345Z","datacontenttype":"application/json","data":{PUSH}}}"#
    );
    let text =
        event(r#","datacontenttype":"text/plain","data":"caf\u00e9 \/ \n","retries":3,"dry":true,"task":"embed""#);
    let bytes = event(r#","datacontenttype":"application/octet-stream","data_base64":"AAEC\/w==""#);
    let json = event(r#","subject":"x","data":{"input":["a","b"]},"task":"embed""#);
    vec![
        (EVENTARC.to_vec(), PUSH.into()),
        (vec![("content-type", STRUCTURED)], structured_push.clone()),
        (vec![("content-type", "application/cloudevents+json; charset=UTF-8")], text.clone()),
        (vec![("content-type", STRUCTURED)], bytes.clone()),
        (vec![("content-type", STRUCTURED)], json.clone()),
        (vec![("content-type", BATCH)], format!("[{structured_push},{text},{bytes},{json}]")),
        (vec![("content-type", "application/json")], PUSH.into()),
        (
            vec![
                ("x-goog-pubsub-message-id", "7"),
                ("x-goog-pubsub-publish-time", "2026-11-20T10:11:12.345Z"),
                ("x-goog-pubsub-subscription-name", SUBSCRIPTION),
                ("x-goog-pubsub-ordering-key", "user-7"),
                ("task", "embed"),
                ("user-agent", "CloudPubSub-Google"),
            ],
            r#"{"input":"hé"}"#.into(),
        ),
        (
            vec![
                ("ce-id", "e1"),
                ("ce-source", "/s"),
                ("ce-type", "com.example.made"),
                ("ce-specversion", "1.0"),
                ("ce-task", "embed"),
                ("content-type", "text/plain"),
            ],
            "hello".into(),
        ),
    ]
}
