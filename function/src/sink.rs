//! Sends results to their destinations: topics, buckets, standard output. The destination `response` is the
//! transport's: the result becomes the body of the HTTP response.
//!
//! | destination | a result is | a duplicate |
//! |---|---|---|
//! | `projects/P/topics/T` | a CloudEvent with the input's attributes and ordering key | is found by the ledger |
//! | `gs://BUCKET/PREFIX/` | the object `PREFIX TASK/KEY.json`, written once | finds the object |
//! | `stdout` | one line: a CloudEvent in structured mode | is found by the ledger |
//!
//! # Layout
//!
//! - [`destination`]: one entry of the setting `RESULTS`, parsed
//! - `result`, `error`: a result, and why it was not delivered
//! - `attributes`: those of the input that a result takes over
//! - `topic`: publishing, bounded in bytes and time; dead letters use it too
//! - `bucket`: one object a result, written once
//! - `stdout`: one line a result

pub(crate) mod attributes;
mod bucket;
pub mod destination;
mod error;
mod result;
mod stdout;
pub(crate) mod topic;

use std::sync::Arc;

use futures_util::future::join_all;

use crate::clients::Clients;
pub use attributes::LEFT_OUT;
use bucket::Bucket;
pub use destination::{Destination, DestinationError};
pub use error::SinkError;
pub use result::TaskResult;
use topic::Topic;

/// Where the results of one process go.
#[derive(Debug)]
pub struct Sinks {
    response: bool,
    sinks: Vec<Sink>,
}

#[derive(Debug)]
enum Sink {
    Stdout,
    Topic(Topic),
    Bucket(Bucket),
}

impl Sinks {
    /// Sinks for these destinations; one that is named twice counts once. Nothing connects yet.
    pub fn new(destinations: &[Destination], clients: &Arc<Clients>) -> Self {
        let mut seen: Vec<&Destination> = Vec::new();
        for destination in destinations {
            if !seen.contains(&destination) {
                seen.push(destination);
            }
        }
        let response = seen.contains(&&Destination::Response);
        let sinks = seen.into_iter().filter_map(|destination| match destination {
            Destination::Response => None,
            Destination::Stdout => Some(Sink::Stdout),
            Destination::Topic(name) => Some(Sink::Topic(Topic::new(name, clients))),
            Destination::Bucket { bucket, prefix } => Some(Sink::Bucket(Bucket::new(bucket, prefix, clients))),
        });
        Self { response, sinks: sinks.collect() }
    }

    /// Whether the result is also the body of the response.
    pub fn responds(&self) -> bool {
        self.response
    }

    /// Whether results go anywhere but into the response.
    pub(crate) fn has_effects(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Whether results go where they leave no record by which a duplicate could be found: a topic, standard output.
    pub(crate) fn needs_ledger(&self) -> bool {
        self.sinks.iter().any(|sink| !matches!(sink, Sink::Bucket(_)))
    }

    /// Delivers to every destination but the response, at the same time, and waits for all of them.
    ///
    /// Several errors are one: a passing one first, so that a permanent one is reported only when every destination
    /// that can take the result has it.
    pub async fn deliver(&self, result: &TaskResult<'_>) -> Result<(), SinkError> {
        let deliveries = self.sinks.iter().map(|sink| async move {
            match sink {
                Sink::Stdout => stdout::write(result).await,
                Sink::Topic(topic) => topic.result(result).await,
                Sink::Bucket(bucket) => bucket.write(result).await,
            }
        });
        let mut worst = Ok(());
        for delivery in join_all(deliveries).await {
            match (&worst, delivery) {
                (_, Ok(())) | (Err(SinkError::Passing { .. }), _) => {}
                (_, failed) => worst = failed,
            }
        }
        worst
    }

    /// Waits, within the deadline of a publish, for what was handed to the publishers and not yet answered.
    pub async fn flush(&self) {
        join_all(self.sinks.iter().filter_map(|sink| match sink {
            Sink::Topic(topic) => Some(topic.flush()),
            _ => None,
        }))
        .await;
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{Message, Outcome};

    fn input(attributes: &[(&str, &str)]) -> Message {
        Message {
            id: "17".into(),
            source: "//pubsub.googleapis.com/projects/p/topics/t".into(),
            attributes: attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            ..Message::default()
        }
    }

    #[test]
    fn attributes_of_a_result() {
        let input = input(&[
            ("idempotency-key", "order-1"),
            ("traceparent", "00-1-2-01"),
            ("ce-subject", "of the input"),
            ("ce-id", "of the input"),
            ("Content-Type", "text/plain"),
            ("source-message-id", "of the input's input"),
            ("payload-uri", "gs://bucket/object"),
        ]);
        let result = TaskResult::new("embed", "service", &input, Bytes::from_static(b"{}"));
        let attributes = result.attributes();
        let expected = [
            ("ce-id", "order-1"),
            ("ce-source", "//ai.workloads/services/service"),
            ("ce-specversion", "1.0"),
            ("ce-time", result.time.as_str()),
            ("ce-type", "ai.workloads.embed.completed.v1"),
            ("content-type", "application/json"),
            ("idempotency-key", "order-1"),
            ("source-message-id", "17"),
            ("traceparent", "00-1-2-01"),
        ];
        assert!(attributes.iter().map(|(k, v)| (k.as_str(), v.as_str())).eq(expected));
    }

    #[test]
    fn what_pubsub_does_not_take_is_left_out_and_named() {
        let long = "v".repeat(1025);
        let mut message = input(&[
            ("googclient_schemaname", "s"),
            ("googclient_traceparent", "t"),
            ("", "v"),
            ("long", &long),
            ("idempotency-key", "k"),
        ]);
        let result = TaskResult::new("embed", "service", &message, Bytes::new());
        let attributes = result.attributes();
        assert_eq!((attributes["googclient_traceparent"].as_str(), attributes["idempotency-key"].as_str()), ("t", "k"));
        assert_eq!(attributes[LEFT_OUT], "\"\", googclient_schemaname, long");
        assert_eq!(attributes.len(), 10);

        // 100 with its own seven and the note: the longest give way, but not those that its work needs.
        message.attributes = (0..93).map(|n| (format!("name-{n:02}"), "v".into())).collect();
        let all = TaskResult::new("embed", "service", &message, Bytes::new()).attributes();
        assert!(all.len() == 100 && !all.contains_key(LEFT_OUT), "{all:?}");
        message.attributes.insert("task".into(), "a long one".into());
        message.attributes.insert("name-07".into(), "longer".into());
        let attributes = TaskResult::new("embed", "service", &message, Bytes::new()).attributes();
        assert_eq!((attributes.len(), attributes[LEFT_OUT].as_str()), (100, "name-07, name-92"));
        assert_eq!(attributes["task"], "a long one");
    }

    #[test]
    fn faults_become_outcomes_without_internals() {
        let passing = SinkError::Passing { destination: "topic".into(), detail: "secret".into() };
        assert!(matches!(passing.outcome(), Outcome::Retry { detail, .. } if !detail.contains("secret")));
        let permanent =
            SinkError::Permanent { destination: "topic".into(), reason: "result-too-large", detail: "d".into() };
        assert_eq!(permanent.outcome(), Outcome::rejected("result-too-large", "d"));
    }
}
