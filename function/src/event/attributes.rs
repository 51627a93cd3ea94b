//! Attributes within Pub/Sub's limits, and the same bound for every other short text.

use std::{
    borrow::Cow,
    collections::{BTreeMap, btree_map::Entry},
};

use super::error::{EventError, excerpt};
use super::limits::{MAX_ATTRIBUTES, MAX_KEY, MAX_VALUE};

/// Attributes as they are gathered, each checked against Pub/Sub's limits.
#[derive(Debug, Default)]
pub(super) struct Attributes(BTreeMap<String, String>);

impl Attributes {
    /// Adds an attribute; refuses an empty, overlong or repeated key, an overlong value, and one attribute too many.
    pub(super) fn insert(&mut self, key: &str, value: Cow<'_, str>) -> Result<(), EventError> {
        if key.is_empty() {
            return Err(EventError::EmptyKey);
        }
        within(MAX_KEY, key, || format!("the attribute key {}", excerpt(key)))?;
        within(MAX_VALUE, &value, || format!("the attribute {}", excerpt(key)))?;
        if self.0.len() == MAX_ATTRIBUTES {
            return Err(EventError::TooManyAttributes);
        }
        match self.0.entry(key.to_owned()) {
            Entry::Vacant(entry) => entry.insert(value.into_owned()),
            Entry::Occupied(_) => {
                return Err(EventError::DuplicateAttribute { name: excerpt(key) });
            }
        };
        Ok(())
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// A text of at most [`MAX_VALUE`] bytes; empty if there is none.
pub(super) fn optional(name: &'static str, value: Option<Cow<'_, str>>) -> Result<String, EventError> {
    let value = value.unwrap_or_default();
    within(MAX_VALUE, &value, || format!("`{name}`"))?;
    Ok(value.into_owned())
}

/// A text of 1 to [`MAX_VALUE`] bytes.
pub(super) fn required(
    name: &'static str,
    what: &'static str,
    value: Option<Cow<'_, str>>,
) -> Result<String, EventError> {
    match optional(name, value)? {
        value if value.is_empty() => Err(EventError::Missing { name, what }),
        value => Ok(value),
    }
}

fn within(limit: usize, text: &str, what: impl FnOnce() -> String) -> Result<(), EventError> {
    if text.len() <= limit {
        return Ok(());
    }
    Err(EventError::TooLong { what: what(), limit, length: text.len() })
}
