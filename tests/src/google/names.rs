//! Names as Google's APIs give them back: with the project's number where its id was sent, and in full where a short
//! name was.

use deploy::cloud::Api;
use serde_json::{Value, json};

use super::state::PROJECT_NUMBER;

/// An answer of this API with its names by the project's number.
pub(super) fn by_number(api: Api, project: &str, answer: &mut Value) {
    let named = |name: &str| {
        let rest = name.strip_prefix("projects/")?.strip_prefix(project)?.strip_prefix('/')?;
        Some(json!(format!("projects/{PROJECT_NUMBER}/{rest}")))
    };
    match answer {
        Value::Object(fields) => {
            let region = fields.get("region").and_then(Value::as_str).map(str::to_owned);
            for (field, value) in fields.iter_mut() {
                let replaced = match (field.as_str(), api, value.as_str()) {
                    ("topic" | "deadLetterTopic" | "subscription", Api::Eventarc | Api::PubSub, Some(name)) => {
                        named(name)
                    }
                    ("name", Api::Eventarc, Some(name)) if name.contains("/triggers/") => named(name),
                    ("serviceAccount", Api::Eventarc, Some(email)) if email.contains('@') => {
                        Some(json!(format!("projects/{PROJECT_NUMBER}/serviceAccounts/{email}")))
                    }
                    ("service", Api::Eventarc, Some(service)) => region.as_ref().map(|region| {
                        json!(format!("projects/{PROJECT_NUMBER}/locations/{region}/services/{service}"))
                    }),
                    _ => None,
                };
                match replaced {
                    Some(name) => *value = name,
                    None => by_number(api, project, value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| by_number(api, project, item)),
        _ => {}
    }
}
