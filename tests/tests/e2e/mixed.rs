//! Work of all tasks, one message in ten of it hopeless, each with its number as `idempotency-key`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use tests::PubSub;

/// The message of this number, in the form of the REST API; its text has about as many tokens as `words`.
pub(crate) fn message(n: usize, words: usize) -> Value {
    let text = format!("text {n} {}", "word ".repeat(words));
    let (task, data) = match n % 10 {
        0 => ("translate", "hopeless".to_owned()),
        1..=3 => ("classify", json!({"input": text, "labels": ["a", "b"]}).to_string()),
        4..=6 => ("rerank", json!({"query": "text", "documents": [text, "x"]}).to_string()),
        _ => ("embed", text),
    };
    let attributes = json!({"task": task, "idempotency-key": format!("message-{n}")});
    json!({"data": BASE64_STANDARD.encode(data), "attributes": attributes})
}

/// Publishes messages 0 to `count`.
pub(crate) async fn publish(pubsub: &PubSub, topic: &str, count: usize, words: usize) {
    for start in (0..count).step_by(250) {
        let messages: Vec<Value> = (start..count.min(start + 250)).map(|n| message(n, words)).collect();
        pubsub.publish_messages(topic, &messages).await;
    }
}

/// Pulls until `count` different keys have come, or two minutes are over; returns how often each has come.
pub(crate) async fn keys(pubsub: &PubSub, subscription: &str, count: usize) -> BTreeMap<String, usize> {
    let start = Instant::now();
    let mut keys = BTreeMap::new();
    while keys.len() < count && start.elapsed() < Duration::from_secs(120) {
        for message in pubsub.pull(subscription, count - keys.len(), Duration::from_secs(1)).await {
            *keys.entry(message.attribute("idempotency-key").to_owned()).or_default() += 1;
        }
    }
    keys
}
