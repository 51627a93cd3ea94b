//! A project's state, so that two compare.

use http::Method;
use serde_json::{Map, Value, json};

use super::json::text;
use super::server::Broken;
use super::state::State;

impl State {
    /// Everything by name, without what differs between two that are alike.
    pub(super) async fn snapshot(&self) -> Result<Value, Broken> {
        let mut all = Map::new();
        all.extend(self.services.iter().map(|(name, service)| (name.clone(), service.value.clone())));
        all.extend(self.triggers.clone());
        all.extend(self.accounts.iter().map(|(email, account)| (email.clone(), account.value.clone())));
        all.extend(self.policies.iter().map(|(name, policy)| (format!("policy of {name}"), policy.clone())));
        for (name, bucket) in &self.buckets {
            let mut bucket = bucket.clone();
            let path = format!("/storage/v1/b/{name}/o?maxResults=1000");
            let (_, objects) = self.upstream.ask_storage(Method::GET, &path, &Value::Null).await?;
            let names = objects["items"].as_array().into_iter().flatten().map(|object| object["name"].clone());
            bucket["objects"] = names.collect();
            all.insert(format!("b/{name}"), bucket);
        }
        for kind in ["topics", "subscriptions"] {
            let path = format!("/v1/projects/{}/{kind}?pageSize=1000", self.project);
            let (_, listed) = self.upstream.ask_pubsub(Method::GET, &path, &Value::Null).await?;
            let listed = listed[kind].as_array().into_iter().flatten();
            all.extend(listed.map(|one| (text(one, "name").to_owned(), one.clone())));
        }
        let mut all = all.into_iter().map(|(name, value)| (without_number(&name), value)).collect();
        forget(&mut all);
        Ok(all)
    }
}

/// Removes what the server counts or draws.
fn forget(value: &mut Value) {
    const DRAWN: [&str; 12] = [
        "etag",
        "generation",
        "observedGeneration",
        "metageneration",
        "uid",
        "uniqueId",
        "oauth2ClientId",
        "createTime",
        "updateTime",
        "lastTransitionTime",
        "timeCreated",
        "updated",
    ];
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !DRAWN.contains(&name.as_str()));
            fields.values_mut().for_each(forget);
            // The order of bindings and their members says nothing.
            if let Some(bindings) = fields.get_mut("bindings").and_then(Value::as_array_mut) {
                for members in bindings.iter_mut().filter_map(|binding| binding["members"].as_array_mut()) {
                    members.sort_by_key(Value::to_string);
                }
                bindings.sort_by_key(Value::to_string);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(forget),
        Value::String(text) => *value = json!(without_number(text)),
        _ => {}
    }
}

/// The subscriptions of Eventarc end in a number that is drawn.
fn without_number(name: &str) -> String {
    match name.rsplit_once("-sub-") {
        Some((trigger, _)) if name.contains("/subscriptions/eventarc-") => format!("{trigger}-sub"),
        _ => name.to_owned(),
    }
}
