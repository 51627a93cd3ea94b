//! IAM policies: who may do what with one resource. Bindings are merged, never replaced.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{Change, Kind, Resource};

/// Roles, and who has each; those with conditions left out.
pub(crate) type Bindings = BTreeMap<String, BTreeSet<String>>;

/// Anyone at all, with or without a Google account. Never right here.
const PUBLIC: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];

/// A body as [`super::declared`] makes it: `grants`, the bindings that have to be there, and `managed`, the members who may have
/// nothing else of the roles in `roles`.
pub(super) fn body(grants: &Bindings, managed: &BTreeSet<String>) -> Value {
    serde_json::json!({ "grants": grants, "managed": managed, "roles": ROLES })
}

/// Whether a policy that is not there yet is as it should be.
pub(super) fn grants_nothing(resource: &Resource) -> bool {
    matches!(resource.id.kind, Kind::Policy(_)) && resource.body["grants"].as_object().is_none_or(Map::is_empty)
}

/// The roles that a deployment gives, and takes back from its own accounts.
const ROLES: [&str; 4] =
    ["roles/pubsub.publisher", "roles/pubsub.subscriber", "roles/run.invoker", "roles/storage.objectUser"];

/// Stands for the policy of a resource in a stand-in that has none.
pub fn no_access_control() -> Value {
    serde_json::json!({"accessControl": "none"})
}

/// The unconditional bindings of an IAM policy in JSON.
pub fn bindings(policy: &Value) -> Bindings {
    let mut all = Bindings::new();
    for binding in policy["bindings"].as_array().into_iter().flatten() {
        if let (Some(role), None) = (binding["role"].as_str(), binding.get("condition").filter(|c| !c.is_null())) {
            let members = binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
            all.entry(role.to_owned()).or_default().extend(members.map(str::to_owned));
        }
    }
    all
}

/// A role, and who has it.
pub(crate) type Grant = (String, String);

/// The grants that have to be added to a policy, and those that have to go.
pub fn additions_and_removals(body: &Value, policy: &Value) -> (Vec<Grant>, Vec<Grant>) {
    if *policy == no_access_control() {
        return (Vec::new(), Vec::new());
    }
    let found = bindings(policy);
    let list = |value: &Value| -> BTreeSet<String> {
        let items = value.as_array().into_iter().flatten();
        items.filter_map(|item| Some(item.as_str()?.to_owned())).collect()
    };
    let empty = Map::new();
    let grants = body["grants"].as_object().unwrap_or(&empty);
    let mut added = Vec::new();
    for (role, members) in grants {
        let has = |member: &String| found.get(role).is_some_and(|found| found.contains(member));
        added.extend(list(members).into_iter().filter(|member| !has(member)).map(|member| (role.clone(), member)));
    }
    let (managed, roles) = (list(&body["managed"]), list(&body["roles"]));
    let mut removed = Vec::new();
    for (role, members) in &found {
        let granted = grants.get(role).map(list).unwrap_or_default();
        let goes = |member: &&String| {
            PUBLIC.contains(&member.as_str())
                || (roles.contains(role) && managed.contains(*member) && !granted.contains(*member))
        };
        removed.extend(members.iter().filter(goes).map(|member| (role.clone(), member.clone())));
    }
    (added, removed)
}

pub(super) fn changes(body: &Value, policy: &Value) -> Vec<Change> {
    let (added, removed) = additions_and_removals(body, policy);
    let added = added.into_iter().map(|(role, member)| Change { path: role, from: Value::Null, to: member.into() });
    let removed = removed.into_iter().map(|(role, member)| Change { path: role, from: member.into(), to: Value::Null });
    added.chain(removed).collect()
}
