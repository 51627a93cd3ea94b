//! Attributes that are copied from a message to what is published about it.

use std::collections::BTreeMap;

use crate::event::{HOP_COUNT_ATTRIBUTE, TASK_ATTRIBUTE};
use crate::{idempotency, payload};
use infra::limits::{MAX_ATTRIBUTES, MAX_VALUE, TRACE_ATTRIBUTES, is_attribute};

/// In a result: the names of the input's attributes that it lacks, separated by commas.
pub const LEFT_OUT: &str = "attributes-left-out";

/// Attributes that are kept longest: without them a message would be another piece of work, be routed elsewhere, or
/// leave its trace.
pub(crate) const KEPT_LONGEST: [&str; 11] = [
    TASK_ATTRIBUTE,
    idempotency::ATTRIBUTE,
    payload::URI,
    payload::GENERATION,
    payload::SHA256,
    HOP_COUNT_ATTRIBUTE,
    "redrive-count",
    "traceparent",
    "tracestate",
    TRACE_ATTRIBUTES[0],
    TRACE_ATTRIBUTES[1],
];

/// The attributes of a result: `own`, and the input's under them. Of the input's those that Pub/Sub does not take are
/// left out, and then the longest, until no more are left than it takes.
pub(super) fn of_result(input: &BTreeMap<String, String>, own: Vec<(&str, String)>) -> BTreeMap<String, String> {
    let mut attributes: BTreeMap<String, String> =
        own.into_iter().map(|(name, value)| (name.to_owned(), cut(&value).to_owned())).collect();
    let copied = input.iter().filter(|(name, _)| !describes_data(name) && !attributes.contains_key(*name));
    let (mut copied, left): (Vec<_>, Vec<_>) = copied.partition(|(name, value)| is_attribute(name, value));
    let mut left_out: Vec<&str> = left.into_iter().map(|(name, _)| name.as_str()).collect();
    let mut room = MAX_ATTRIBUTES - attributes.len();
    if !left_out.is_empty() || copied.len() > room {
        copied.retain(|(name, _)| *name != LEFT_OUT);
        room -= 1;
    }
    if copied.len() > room {
        copied.sort_by_key(|(name, value)| {
            (!KEPT_LONGEST.contains(&name.as_str()), name.len() + value.len(), name.as_str())
        });
        left_out.extend(copied.drain(room..).map(|(name, _)| name.as_str()));
    }
    if !left_out.is_empty() {
        left_out.sort_unstable();
        attributes.insert(LEFT_OUT.to_owned(), list(left_out));
    }
    attributes.extend(copied.into_iter().map(|(name, value)| (name.clone(), value.clone())));
    attributes
}

/// Whether an attribute describes the input's data, and would be wrong on the result's.
fn describes_data(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.starts_with("ce-") || name == "content-type" || payload::ATTRIBUTES.contains(&name.as_str())
}

/// Names as the value of an attribute: each on one line and not too long, and how many more there are where they
/// do not fit.
pub(crate) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    const MAX_NAME_CHARS: usize = 64;
    const MORE_BYTES: usize = " and 18446744073709551615 more".len();
    let mut text = String::new();
    let mut names = names.into_iter();
    let mut count = 0;
    for name in names.by_ref() {
        let name = if name.is_empty() { "\"\"" } else { name };
        let short: String = name.chars().take(MAX_NAME_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let cut = if short.len() < name.len() { "…" } else { "" };
        if text.len() + short.len() + cut.len() + ", ".len() + MORE_BYTES > MAX_VALUE {
            count = 1;
            break;
        }
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.extend([short.as_str(), cut]);
    }
    count += names.count();
    if count > 0 {
        text.push_str(&format!(" and {count} more"));
    }
    text
}

/// A text as the value of an attribute: on one line, and cut at a character where it is too long.
pub(crate) fn clean(text: &str) -> String {
    cut(text).chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The longest beginning that Pub/Sub takes as a value and that ends at a character.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_VALUE)]
}
