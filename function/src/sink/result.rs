//! A result, as it is delivered to its destinations.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use jiff::Timestamp;

use super::attributes::{self, LEFT_OUT};
use crate::Message;
use crate::event::HOP_COUNT_ATTRIBUTE;

/// A result, as it is delivered to its destinations.
#[derive(Clone, Debug)]
pub struct TaskResult<'a> {
    /// The task that made it.
    pub task: &'a str,
    /// The declared service that ran the task.
    pub service: &'a str,
    /// The idempotency key of the input: [`Message::key`].
    pub key: Cow<'a, str>,
    /// The message that it is the result of.
    pub input: &'a Message,
    /// JSON text.
    pub body: Bytes,
    /// When the work was done: RFC 3339, UTC.
    pub time: String,
    /// The number of hop-limited services that the message has passed, this one included; `None` if this service has no
    /// limit.
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

    /// The attributes of a published result: the input's own, and over them those that describe the result.
    ///
    /// Left out are the attributes that describe the input's data and would be wrong on the result's: `ce-*`,
    /// `content-type`, and the three of a claim check. Left out, and named in [`LEFT_OUT`], are also those that Pub/Sub
    /// does not take, or that exceed its limits: reserved names, names and values out of bounds, and the longest of
    /// more than 100.
    pub fn attributes(&self) -> BTreeMap<String, String> {
        attributes::of_result(&self.input.attributes, self.own_attributes())
    }

    /// The result's own attributes alone, for when Pub/Sub refuses it with those of the input.
    pub(super) fn bare_attributes(&self, all: &BTreeMap<String, String>) -> BTreeMap<String, String> {
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
        own.into_iter().chain(self.hops.map(|hops| (HOP_COUNT_ATTRIBUTE, hops.to_string()))).collect()
    }
}
