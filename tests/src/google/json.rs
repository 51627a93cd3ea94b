//! JSON as Google's APIs treat it: field masks, default values left out, pages, etags.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};

use super::call::{Answer, Call, Failure};
use crate::discovery::camel_case;

/// Sets in `target` what the mask names, as it is in `source`; a field that is not there is removed. Without a mask
/// every field of `source` replaces its own: <https://google.aip.dev/134>.
pub(super) fn apply(mask: Option<&str>, source: &Value, target: &mut Value) {
    match mask.filter(|mask| !mask.is_empty()) {
        Some("*") => *target = source.clone(),
        Some(mask) => {
            for path in mask.split(',') {
                let names: Vec<String> = path.split('.').map(|name| camel_case(name.trim())).collect();
                set(&names, source, target);
            }
        }
        None => {
            for (name, value) in source.as_object().into_iter().flatten() {
                target[name] = value.clone();
            }
        }
    }
}

fn set(path: &[String], source: &Value, target: &mut Value) {
    let Some((name, rest)) = path.split_first() else { return };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(fields) = target.as_object_mut() else { return };
    match source.get(name) {
        value if !rest.is_empty() => {
            set(rest, value.unwrap_or(&Value::Null), fields.entry(name.clone()).or_insert_with(|| json!({})));
        }
        Some(value) if !value.is_null() => {
            fields.insert(name.clone(), value.clone());
        }
        _ => {
            fields.remove(name);
        }
    }
}

/// Removes what a protocol buffer does not tell from absent: false, zero, the empty string and list, `…_UNSPECIFIED`.
pub(super) fn without_defaults(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(without_defaults);
            fields.retain(|_, field| match field {
                Value::Null | Value::Bool(false) => false,
                Value::Number(number) => number.as_f64() != Some(0.0),
                Value::String(text) => !text.is_empty() && !text.ends_with("_UNSPECIFIED"),
                Value::Array(items) => !items.is_empty(),
                _ => true,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(without_defaults),
        _ => {}
    }
}

/// Sets a field that is not there.
pub(super) fn default(fields: &mut Map<String, Value>, name: &str, value: Value) {
    fields.entry(name).or_insert(value);
}

/// One page of a list: `pageSize` (100 if not given), `pageToken`, `nextPageToken`.
pub(super) fn page(call: &Call, name: &str, items: Vec<Value>) -> Answer {
    let size = call.query("pageSize").or(call.query("maxResults")).and_then(|size| size.parse().ok());
    let size = size.filter(|size| *size > 0).unwrap_or(100);
    let first = match call.query("pageToken").filter(|token| !token.is_empty()) {
        Some(token) => token.strip_prefix("from-").and_then(|first| first.parse().ok()),
        None => Some(0),
    };
    let first = first.ok_or_else(|| Failure::invalid("Page token is not valid"))?;
    let more = items.len() > first + size;
    let mut answer = json!({});
    let items: Vec<Value> = items.into_iter().skip(first).take(size).collect();
    if !items.is_empty() {
        answer[name] = json!(items);
    }
    if more {
        answer["nextPageToken"] = json!(format!("from-{}", first + size));
    }
    Ok(answer)
}

/// Another one each time, and of the form that bytes have in JSON.
pub(super) fn etag() -> String {
    BASE64_STANDARD.encode(format!("etag-{:06}", next()))
}

/// A number that no other call returns.
pub(super) fn next() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// In the form of a UUID; another one each time.
pub(super) fn uid() -> String {
    format!("00000000-0000-4000-8000-{:012}", next())
}

/// The time, in RFC 3339.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

/// The text of a field; empty if there is none.
pub(super) fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}
