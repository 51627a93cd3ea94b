//! What a message was before it became a dead letter: its attributes and ordering key, put together from the letter.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::labels::{
    DATA_GENERATION, DATA_SHA256, DATA_URI, DETAIL, LEFT_OUT, LOST, ORIGINAL, REASON, SERVICE, SOURCE_MESSAGE_ID,
    SOURCE_TOPIC, TIME,
};
use crate::Message;
use infra::limits::MAX_ATTRIBUTES;

/// What every letter says anew.
const LABEL_ATTRIBUTES: [&str; 7] = [REASON, DETAIL, SOURCE_MESSAGE_ID, SOURCE_TOPIC, SERVICE, TIME, LEFT_OUT];
/// Where the data is that did not fit into an earlier letter.
const DATA_ATTRIBUTES: [&str; 3] = [DATA_URI, DATA_GENERATION, DATA_SHA256];

/// A message, but for its data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Original {
    /// Its own attributes, reserved ones included.
    pub attributes: BTreeMap<String, String>,
    /// Its ordering key; empty if none.
    pub ordering_key: String,
    /// What is lost of it, for people: [`LOST`].
    pub lost: Option<String>,
    /// The object that holds its data, if it is not in the letter: [`DATA_URI`], [`DATA_GENERATION`], [`DATA_SHA256`].
    pub data: Vec<(String, String)>,
}

/// The JSON of [`ORIGINAL`].
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Document<'a> {
    pub(super) attributes: BTreeMap<std::borrow::Cow<'a, str>, std::borrow::Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ordering_key: Option<std::borrow::Cow<'a, str>>,
}

impl Original {
    /// Reads a letter, or any other message. An attribute that was kept wins over one of the same name that was moved.
    pub fn of(attributes: &BTreeMap<String, String>, ordering_key: &str) -> Self {
        let mut own = attributes.clone();
        let mut parts = Vec::new();
        for number in 1..=MAX_ATTRIBUTES {
            let Some(part) = own.remove(&part_name(number)) else { break };
            parts.push(part);
        }
        own.retain(|name, _| !LABEL_ATTRIBUTES.contains(&name.as_str()));
        let lost = own.remove(LOST);
        let data = DATA_ATTRIBUTES.iter().filter_map(|name| own.remove_entry(*name)).collect();
        let mut original = Self { attributes: own, ordering_key: ordering_key.to_owned(), lost, data };
        match serde_json::from_str::<Document<'_>>(&parts.concat()) {
            Ok(document) => {
                for (name, value) in document.attributes {
                    original.attributes.entry(name.into_owned()).or_insert_with(|| value.into_owned());
                }
                if original.ordering_key.is_empty() {
                    original.ordering_key = document.ordering_key.map(Into::into).unwrap_or_default();
                }
            }
            // None, or of another program: attributes like others, which must not be read as moved ones later.
            Err(_) => original.attributes.extend((1..).map(part_name).zip(parts)),
        }
        original
    }

    pub(super) fn of_message(message: &Message) -> Self {
        Self::of(&message.attributes, &message.ordering_key)
    }
}

/// The name of one part of [`ORIGINAL`], from 1.
pub(super) fn part_name(number: usize) -> String {
    if number == 1 { ORIGINAL.to_owned() } else { format!("{ORIGINAL}-{number}") }
}

/// Whether a letter's own [`ORIGINAL`] may have this name.
pub(super) fn is_part(name: &str) -> bool {
    name.starts_with(ORIGINAL)
}
