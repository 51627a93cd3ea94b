//! The paths of an update mask, and updates that are the same for every kind of field.

use std::collections::BTreeMap;

use tonic::Status;

use crate::error::invalid;

/// The names of a path from the outside in, in snake case: clients write `push_config.push_endpoint`, JSON has
/// `pushConfig.pushEndpoint`.
pub(super) fn names(path: &str) -> Vec<String> {
    path.trim().split('.').map(snake).collect()
}

/// The key that a path into a map ends with, as it was written.
pub(super) fn key(path: &str) -> &str {
    path.trim().rsplit('.').next().unwrap_or_default().trim_matches('`')
}

/// # Errors
/// INVALID_ARGUMENT for a mask that names nothing.
pub(super) fn paths<'a>(mask: Option<&'a prost_types::FieldMask>, resource: &str) -> Result<&'a [String], Status> {
    match mask {
        Some(mask) if !mask.paths.is_empty() => Ok(&mask.paths),
        _ => Err(invalid(format!(
            "The update_mask in the Update{resource}Request must be set, and must contain a non-empty paths list."
        ))),
    }
}

/// Sets a nested message or, where `names` goes on to its fields, changes those alone; returns whether `field` knows
/// them.
///
/// Where neither `current` nor `changed` has the message, it is not created for the default of a field.
pub(super) fn merge<T: Clone + Default>(
    current: &mut Option<T>,
    changed: Option<&T>,
    names: &[&str],
    field: impl FnOnce(&mut T, &T, &[&str]) -> bool,
) -> bool {
    if names.is_empty() {
        *current = changed.cloned();
        return true;
    }
    let mut merged = current.clone().unwrap_or_default();
    let is_known = field(&mut merged, changed.unwrap_or(&T::default()), names);
    if is_known && (current.is_some() || changed.is_some()) {
        *current = Some(merged);
    }
    is_known
}

/// Sets one entry of a map, or removes it.
pub(super) fn set_entry(current: &mut BTreeMap<String, String>, changed: &BTreeMap<String, String>, key: &str) {
    match changed.get(key) {
        Some(value) => drop(current.insert(key.to_owned(), value.clone())),
        None => drop(current.remove(key)),
    }
}

pub(super) fn unknown(resource: &str, path: &str) -> Status {
    invalid(format!(
        "Invalid update_mask provided in the Update{resource}Request: '{path}' is not a known {resource} field."
    ))
}

pub(super) fn immutable(resource: &str, path: &str) -> Status {
    invalid(format!(
        "Invalid update_mask provided in the Update{resource}Request: the '{path}' field in the {resource} is not \
         mutable."
    ))
}

fn snake(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}
