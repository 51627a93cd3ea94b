//! result → topic, bucket, stdout; the answer's body (`response`) is the server's.
//!
//! # Layout
//!
//! - [`destination`]: one entry of the setting `RESULTS`, parsed
//! - `attributes`: those of the input that a result takes over
//! - `topic`: publishing, bounded in bytes and time; dead letters use it too
//! - `bucket`: one object a result, written once
//! - `stdout`: one line a result

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::cloud::Clients;
use crate::{Message, Outcome, route};

pub(crate) mod attributes;
mod bucket;
pub mod destination;
mod stdout;
pub(crate) mod topic;

pub use attributes::LEFT_OUT;
pub use destination::{Destination, DestinationError};

use bucket::Bucket;
use topic::Topic;

/// A finished piece of work on its way out.
#[derive(Clone, Debug)]
pub struct TaskResult<'a> {
    /// The task that made it.
    pub task: &'a str,
    /// The declared service that ran the task.
    pub service: &'a str,
    /// The idempotency key of the input: [`Message::key`].
    pub key: Cow<'a, str>,
    /// The message that it answers.
    pub input: &'a Message,
    /// JSON text.
    pub body: Bytes,
    /// When it was done: RFC 3339, UTC.
    pub time: String,
    /// How often the message has passed a service with a hop limit, this one included; `None` if this one has none.
    pub hops: Option<u32>,
}

impl<'a> TaskResult<'a> {
    /// The result of `task` for `input`, done at this moment.
    pub fn new(task: &'a str, service: &'a str, input: &'a Message, body: Bytes) -> Self {
        let key = input.key();
        Self { task, service, key, input, body, time: Timestamp::now().to_string(), hops: None }
    }

    /// CloudEvents `source`: the service as a URI.
    pub fn source(&self) -> String {
        format!("//ai.workloads/services/{}", self.service)
    }

    /// CloudEvents `type`.
    pub fn kind(&self) -> String {
        format!("ai.workloads.{}.completed.v1", self.task)
    }

    /// The attributes of a published result: the input's own, and over them what the result says of itself.
    ///
    /// Not taken over are the attributes that describe the input's data and would be wrong on the result's: `ce-*`,
    /// `content-type`, and the three of a claim check; and those that Pub/Sub does not take or has no room for, which
    /// [`LEFT_OUT`] then names: reserved names, names and values out of bounds, and the longest of more than 100.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        attributes::of_result(&self.input.attributes, self.own_attributes())
    }

    /// Those of the result alone, where Pub/Sub refuses it with what it took over.
    fn bare_attributes(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        let mut bare = attributes::of_result(&BTreeMap::new(), self.own_attributes());
        let mut left_out = all.keys().filter(|name| !bare.contains_key(*name)).map(String::as_str).peekable();
        if left_out.peek().is_some() {
            let left_out = attributes::list(left_out);
            bare.insert(LEFT_OUT.to_owned(), left_out);
        }
        bare
    }

    fn own_attributes(&self) -> Vec<(&'static str, String)> {
        let own = [
            ("ce-specversion", "1.0".to_owned()),
            ("ce-id", self.key.clone().into_owned()),
            ("ce-source", self.source()),
            ("ce-type", self.kind()),
            ("ce-time", self.time.clone()),
            ("content-type", "application/json".to_owned()),
            ("source-message-id", self.input.id.clone()),
        ];
        own.into_iter().chain(self.hops.map(|hops| (route::HOPS, hops.to_string()))).collect()
    }
}

/// A result or dead letter did not reach its destination. Its text is for the log; [`outcome`](Self::outcome) for the
/// sender.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SinkError {
    /// Another try may succeed: no connection, a deadline passed, and also a missing topic or permission, which an
    /// operator puts right without touching the message.
    #[error("cannot deliver to {destination}: {detail}")]
    Passing {
        /// The topic or bucket.
        destination: String,
        /// Why, with causes.
        detail: String,
    },
    /// The same data will be refused each time.
    #[error("{destination} cannot take it ({reason}): {detail}")]
    Permanent {
        /// The topic or bucket.
        destination: String,
        /// A stable word for programs: `result-too-large`, `result-refused`.
        reason: &'static str,
        /// What is wrong and what would be right; no internals.
        detail: String,
    },
}

impl SinkError {
    /// What becomes of the message: a passing fault is a [`Outcome::Retry`] that names no internals, a permanent one is
    /// [`Outcome::Rejected`].
    pub fn outcome(&self) -> Outcome {
        match self {
            Self::Passing { .. } => Outcome::retry("the result could not be delivered; it will be tried again"),
            Self::Permanent { reason, detail, .. } => Outcome::rejected(reason, detail.as_str()),
        }
    }
}

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

    /// Whether the result is also the answer's body.
    pub fn responds(&self) -> bool {
        self.response
    }

    /// Whether results go anywhere but into the answer.
    pub(crate) fn has_effects(&self) -> bool {
        !self.sinks.is_empty()
    }

    /// Whether duplicates can be told only by a ledger: results go to a topic or to standard output, which keep no
    /// record.
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
    use super::*;

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
