//! Which declared fields differ from what was found.

use serde_json::{Map, Value};

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// `retryPolicy.minimumBackoff`, `template.containers[0].env[MODEL]`
    pub path: String,
    /// What was found; null if nothing.
    pub from: Value,
    /// What is declared; null if the field is removed.
    pub to: Value,
}

impl Change {
    /// The field of the resource that the change is in: `template` of `template.timeout`.
    pub(crate) fn top(&self) -> &str {
        self.path.split(['.', '[']).next().unwrap_or(&self.path)
    }
}

/// Fields that are compared and changed as a whole, since `{}` means something there ("never"), or since entries that
/// are not declared are removed.
const COMPARED_WHOLE: [&str; 2] = ["expirationPolicy", "env"];

/// Fields that are compared part by part and sent whole, as they are declared: a part that was found could contradict a
/// declared one. A traffic target of the latest revision names no revision, and a pull subscription no account to push
/// as.
const SENT_WHOLE: [&str; 2] = ["traffic", "pushConfig"];

/// Fields that the server rewrites: what was sent and what is found differ without being a change. The declared value
/// is sent again with every update. <https://cloud.google.com/run/docs/reference/rest/v2/Container>
const REWRITTEN_BY_SERVER: [&str; 2] = ["image", "baseImageUri"];

/// Fields of which an object has one at most: a declared one replaces another that was found.
const EXCLUSIVE: [&[&str]; 3] =
    [&["httpGet", "tcpSocket", "grpc"], &["cloudStorageSource", "inlinedSource"], &["value", "valueSource"]];

/// Fields, within declared ones, that describe what was found and not what is to be: the generation belongs to the
/// object that was found, and an object is named by its content here.
const FOUND_ONLY: [&str; 2] = ["generation", "buildInfo"];

/// The declared fields that differ from `found`.
pub(super) fn changes(declared: &Value, found: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk(declared, found, "", &mut changes);
    changes
}

fn walk(declared: &Value, found: &Value, path: &str, changes: &mut Vec<Change>) {
    let field = path.rsplit('.').next().unwrap_or(path);
    match declared {
        Value::Object(fields) if !COMPARED_WHOLE.contains(&field) => {
            for (key, value) in fields {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(value, found.get(key).unwrap_or(&Value::Null), &path, changes);
            }
            changes.extend(undeclared(fields, found, path));
        }
        Value::Array(items) if field == "env" => environment(items, found, path, changes),
        Value::Array(items) if found.as_array().is_some_and(|found| found.len() == items.len()) => {
            for (index, item) in items.iter().enumerate() {
                walk(item, &found[index], &format!("{path}[{index}]"), changes);
            }
        }
        _ if field == "image" && !found.is_null() => {}
        _ if same(field, declared, found) => {}
        _ => changes.push(Change { path: path.to_owned(), from: found.clone(), to: declared.clone() }),
    }
}

/// Fields that change what is sent and that are compared even where they are not declared: a push without the wrapper
/// is another request than one with it.
fn undeclared(declared: &Map<String, Value>, found: &Value, path: &str) -> Option<Change> {
    let bare = found.get("noWrapper").filter(|bare| !bare.is_null() && path == "pushConfig")?;
    let pushes = declared.get("pushEndpoint").is_some_and(|endpoint| *endpoint != "");
    let change = || Change { path: format!("{path}.noWrapper"), from: bare.clone(), to: Value::Null };
    (pushes && !declared.contains_key("noWrapper")).then(change)
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

/// Whether two values of a field mean the same: Google's JSON leaves out what is zero, writes 64-bit numbers as text,
/// and has several forms of a duration and of a share of a processor.
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

/// What was found, with the declared fields merged into it: the body of an update that leaves everything else as it is.
pub fn merged(found: &Value, declared: &Value) -> Value {
    merge(found, declared, "")
}

fn merge(found: &Value, declared: &Value, field: &str) -> Value {
    let whole = COMPARED_WHOLE.contains(&field) || SENT_WHOLE.contains(&field);
    match (found, declared) {
        (Value::Object(found), Value::Object(fields)) if !whole => {
            let mut all: Map<String, Value> = found.clone();
            if ["cloudStorageSource", "containers"].contains(&field) {
                all.retain(|key, _| !FOUND_ONLY.contains(&key.as_str()));
            }
            for group in EXCLUSIVE.iter().filter(|group| group.iter().any(|one| fields.contains_key(*one))) {
                all.retain(|key, _| !group.contains(&key.as_str()) || fields.contains_key(key));
            }
            for (key, value) in fields {
                let merged = merge(found.get(key).unwrap_or(&Value::Null), value, key);
                all.insert(key.clone(), merged);
            }
            Value::Object(all)
        }
        (Value::Array(found), Value::Array(items)) if !whole && found.len() == items.len() => {
            found.iter().zip(items).map(|(found, item)| merge(found, item, field)).collect()
        }
        (found @ Value::String(_), Value::String(_))
            if !REWRITTEN_BY_SERVER.contains(&field) && same(field, declared, found) =>
        {
            found.clone()
        }
        _ => declared.clone(),
    }
}

/// The part of a body that an update mask of these changes covers, with the resource's name, and the etag that detects
/// changes by others.
pub(crate) fn narrowed(body: &Value, changes: &[Change]) -> Value {
    let covered = |field: &str| changes.iter().any(|change| change.top() == field);
    let fields = body.as_object().into_iter().flatten();
    let kept = fields.filter(|(key, _)| ["name", "etag"].contains(&key.as_str()) || covered(key));
    Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn service(object: &str) -> Value {
        let source = json!({"cloudStorageSource": {"bucket": "b", "object": object}});
        json!({
            "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
            "template": {"containers": [{"image": "scratch", "baseImageUri": "osonly24", "sourceCode": source}]},
        })
    }

    fn found() -> Value {
        let image = "europe-west1-docker.pkg.dev/serverless-runtimes/google-24/runtimes/osonly24";
        let mut found = merged(&json!({}), &service("archives/a"));
        found["name"] = json!("projects/p/locations/r/services/s");
        found["etag"] = json!("e");
        found["launchStage"] = json!("GA");
        found["template"]["revision"] = json!("s-00001-abc");
        let container = &mut found["template"]["containers"][0];
        container["baseImageUri"] = json!(image);
        container["image"] = json!("an-image-that-the-server-made");
        container["buildInfo"] = json!({"sourceLocation": "x"});
        container["sourceCode"]["cloudStorageSource"]["generation"] = json!("1700000000000000");
        found
    }

    #[test]
    fn a_generation_that_was_found_is_no_drift_and_goes_with_its_object() {
        assert_eq!(changes(&service("archives/a"), &found()), []);
        let changes = changes(&service("archives/b"), &found());
        assert_eq!(changes.len(), 1, "{changes:?}");
        let body = narrowed(&merged(&found(), &service("archives/b")), &changes);
        let container = &body["template"]["containers"][0];
        assert_eq!(container["sourceCode"]["cloudStorageSource"], json!({"bucket": "b", "object": "archives/b"}));
        assert_eq!(container.get("buildInfo"), None, "{container}");
        assert_eq!((&container["image"], &container["baseImageUri"]), (&json!("scratch"), &json!("osonly24")));
    }

    #[test]
    fn a_push_without_the_wrapper_is_drift_where_none_is_declared() {
        let declared = json!({"pushConfig": {"pushEndpoint": "https://x"}});
        let found = json!({"pushConfig": {"pushEndpoint": "https://x", "noWrapper": {"writeMetadata": true}}});
        let changes = changes(&declared, &found);
        assert_eq!(changes.iter().map(|change| change.path.as_str()).collect::<Vec<_>>(), ["pushConfig.noWrapper"]);
        assert_eq!(narrowed(&merged(&found, &declared), &changes), declared);
        assert_eq!(super::changes(&found, &found), []);
        let pulled = json!({"pushConfig": {"pushEndpoint": ""}});
        assert!(super::changes(&pulled, &json!({"pushConfig": {"noWrapper": {}}})).is_empty());
    }

    #[test]
    fn a_body_holds_what_changes_alone() {
        let mut open = found();
        open["ingress"] = json!("INGRESS_TRAFFIC_ALL");
        let changes = changes(&service("archives/a"), &open);
        let body = narrowed(&merged(&open, &service("archives/a")), &changes);
        let expected = json!({
            "name": "projects/p/locations/r/services/s", "etag": "e", "ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY",
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn what_is_declared_takes_the_place_of_what_excludes_it() {
        let declared = json!({"startupProbe": {"httpGet": {"path": "/health"}, "periodSeconds": 10}});
        let found = json!({"startupProbe": {"tcpSocket": {"port": 8080}, "failureThreshold": 1}});
        let expected =
            json!({"startupProbe": {"httpGet": {"path": "/health"}, "periodSeconds": 10, "failureThreshold": 1}});
        assert_eq!(merged(&found, &declared), expected);

        let declared = json!({"traffic": [{"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_LATEST", "percent": 100}]});
        let found = json!({"traffic": [
            {"type": "TRAFFIC_TARGET_ALLOCATION_TYPE_REVISION", "revision": "s-00001-abc", "percent": 100},
        ]});
        assert_eq!(merged(&found, &declared), declared);

        let pulled = json!({"pushConfig": {"pushEndpoint": ""}});
        let pushed = json!({"pushConfig": {"pushEndpoint": "https://x", "oidcToken": {"serviceAccountEmail": "a@b"}}});
        assert_eq!(merged(&pushed, &pulled), pulled);
    }
}
