//! Which declared fields differ from what was found.

use serde_json::{Map, Value};

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `retryPolicy.minimumBackoff`, `template.containers[0].env[MODEL]`
    pub path: String,
    /// What was found; null if nothing.
    pub from: Value,
    /// What is declared; null if it goes.
    pub to: Value,
}

/// Fields that are compared and changed as a whole: `{}` means something there ("never"), or entries that are not declared go.
const WHOLE: [&str; 2] = ["expirationPolicy", "env"];

/// Fields that the server rewrites: what was sent and what is found there differ without a difference.
/// <https://cloud.google.com/run/docs/reference/rest/v2/Container>
const REWRITTEN: [&str; 1] = ["image"];

/// The declared fields that differ from `found`.
pub(super) fn changes(declared: &Value, found: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(declared, found, "", &mut changes);
    changes
}

fn walk(declared: &Value, found: &Value, path: &str, changes: &mut Vec<Change>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    match declared {
        Value::Object(fields) if !WHOLE.contains(&field) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, found.get(key).unwrap_or(&Value::Null), &path, changes);
            }
        }
        Value::Array(items) if field == "env" => environment(items, found, path, changes),
        Value::Array(items) if found.as_array().is_some_and(|found| found.len() == items.len()) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &found[index], &format!("{path}[{index}]"), changes);
            }
        }
        _ if REWRITTEN.contains(&field) && !found.is_null() => {}
        _ if same(field, declared, found) => {}
        _ => changes.push(Change { path: path.to_owned(), from: found.clone(), to: declared.clone() }),
    }
}

/// Environment variables have names, and their order means nothing.
fn environment(declared: &[Value], found: &Value, path: &str, changes: &mut Vec<Change>) {
    let found = found.as_array().map(Vec::as_slice).unwrap_or_default();
    let named = |list: &[Value], name: &Value| list.iter().find(|entry| entry["name"] == *name).cloned();
    let value = |entry: Value| match entry.get("valueSource").and_then(|source| source.get("secretKeyRef")) {
        Some(secret) => Value::String(format!(
            "secret {}:{}",
            secret["secret"].as_str().unwrap_or_default(),
            secret["version"].as_str().unwrap_or("latest")
        )),
        None => entry.get("value").cloned().unwrap_or_else(|| "".into()),
    };
    for entry in declared {
        let from = named(found, &entry["name"]).map_or(Value::Null, value);
        let to = value(entry.clone());
        if from != to {
            let name = entry["name"].as_str().unwrap_or_default();
            changes.push(Change { path: format!("{path}[{name}]"), from, to });
        }
    }
    for entry in found.iter().filter(|entry| named(declared, &entry["name"]).is_none()) {
        let name = entry["name"].as_str().unwrap_or_default();
        changes.push(Change { path: format!("{path}[{name}]"), from: value(entry.clone()), to: Value::Null });
    }
}

/// Whether two values of a field mean the same: JSON leaves out what is zero, writes 64-bit numbers as text, and knows several
/// forms of a duration and of a share of a processor.
fn same(field: &str, declared: &Value, found: &Value) -> bool {
    if declared == found {
        return true;
    }
    match (declared, found) {
        (Value::Bool(false), Value::Null) => true,
        (Value::Number(number), Value::Null) => number.as_f64() == Some(0.0),
        (Value::String(text), Value::Null) => text.is_empty(),
        (Value::Array(items), Value::Null) => items.is_empty(),
        (Value::Number(number), Value::String(text)) | (Value::String(text), Value::Number(number)) => {
            text.parse().ok() == number.as_f64()
        }
        // The short name of a base image is answered with its whole URI.
        (Value::String(declared), Value::String(found)) if field == "baseImageUri" => {
            found.rsplit('/').next().and_then(|name| name.split([':', '@']).next()) == Some(declared)
        }
        (Value::String(declared), Value::String(found)) => {
            let equal = |parse: fn(&str) -> Option<f64>| parse(declared).is_some() && parse(declared) == parse(found);
            equal(seconds) || (field == "cpu" && equal(processors))
        }
        _ => false,
    }
}

fn seconds(text: &str) -> Option<f64> {
    text.strip_suffix('s')?.parse().ok()
}

fn processors(text: &str) -> Option<f64> {
    match text.strip_suffix('m') {
        Some(millis) => Some(millis.parse::<f64>().ok()? / 1000.0),
        None => text.parse().ok(),
    }
}

/// Why the service's newest revision does not run, if it does not. `terminalCondition` of
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>.
pub(super) fn failed_revision(service: &Value) -> Option<String> {
    let condition = service.get("terminalCondition")?;
    let failed = condition["state"] == "CONDITION_FAILED";
    failed.then(|| format!("failed: {}", condition["message"].as_str().unwrap_or("no reason given")))
}

/// What was found, with the declared fields laid over it: the body of an update that leaves everything else as it is.
pub fn merged(found: &Value, declared: &Value) -> Value {
    lay(found, declared, "")
}

fn lay(found: &Value, declared: &Value, field: &str) -> Value {
    match (found, declared) {
        (Value::Object(found), Value::Object(fields)) if !WHOLE.contains(&field) => {
            let mut all: Map<String, Value> = found.clone();
            for (key, value) in fields {
                let laid = lay(found.get(key).unwrap_or(&Value::Null), value, key);
                all.insert(key.clone(), laid);
            }
            Value::Object(all)
        }
        (Value::Array(found), Value::Array(items)) if !WHOLE.contains(&field) && found.len() == items.len() => {
            found.iter().zip(items).map(|(found, item)| lay(found, item, "")).collect()
        }
        (found @ Value::String(_), Value::String(_)) if REWRITTEN.contains(&field) || same(field, declared, found) => {
            found.clone()
        }
        _ => declared.clone(),
    }
}
