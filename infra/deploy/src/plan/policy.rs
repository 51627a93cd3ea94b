//! IAM policies: who may do what with one resource. Bindings are merged, never replaced.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Change, State, names};
use crate::resources::{Bindings, CONDITION, IF, Kind, Resource, within};

/// The version with conditions. A write without it is refused where the policy has a condition, even one that others
/// set. <https://cloud.google.com/iam/docs/policies#versions>
pub(crate) const POLICY_VERSION: i32 = 3;

/// Everyone, with or without a Google account. Never granted here.
const PUBLIC_MEMBERS: [&str; 2] = ["allUsers", "allAuthenticatedUsers"];

/// A binding without members.
pub(crate) fn binding(role: &str) -> Value {
    match role.split_once(IF) {
        None => json!({ "role": role }),
        Some((role, condition)) => {
            json!({ "role": role, "condition": { "title": CONDITION, "expression": condition } })
        }
    }
}

/// The role of a binding, with its condition if it has one.
pub(crate) fn bound(binding: &Value) -> Option<String> {
    let role = binding["role"].as_str()?;
    Some(match binding["condition"]["expression"].as_str() {
        None => role.to_owned(),
        Some(condition) => within(role, condition),
    })
}

/// Whether a policy that does not exist yet is as it should be.
pub(super) fn grants_nothing(resource: &Resource) -> bool {
    matches!(resource.id.kind, Kind::Policy(_)) && resource.body["grants"].as_object().is_none_or(Map::is_empty)
}

/// Whether the service agent that `agent` describes exists: a policy that was found names it, or every grant to it is
/// there, as where there is no access control.
pub(super) fn agent_is_there(agent: &Resource, declared: &[Resource], found: &State) -> bool {
    let member = agent.body["member"].as_str().unwrap_or_default();
    let names_it = |policy: &Value| bindings(policy).values().any(|members| members.contains(member));
    if found.ids().any(|id| matches!(id.kind, Kind::Policy(_)) && found.get(id).is_some_and(names_it)) {
        return true;
    }
    let policies = declared.iter().filter(|resource| matches!(resource.id.kind, Kind::Policy(_)));
    policies.into_iter().all(|policy| {
        let (added, _) = additions_and_removals(&policy.body, found.get(&policy.id).unwrap_or(&Value::Null));
        !added.iter().any(|(_, added)| added == member)
    })
}

/// Represents the policy of a resource of a stand-in without access control.
pub fn no_access_control() -> Value {
    json!({"accessControl": "none"})
}

/// The bindings of an IAM policy in JSON.
pub fn bindings(policy: &Value) -> Bindings {
    let mut all = Bindings::new();
    for binding in policy["bindings"].as_array().into_iter().flatten() {
        if let Some(role) = bound(binding) {
            let members = binding["members"].as_array().into_iter().flatten().filter_map(Value::as_str);
            all.entry(role).or_default().extend(members.map(str::to_owned));
        }
    }
    all
}

/// A role, with its condition if it has one, and who has it.
pub(crate) type Grant = (String, String);

/// The grants that have to be added to a policy, and those that have to be removed.
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
    let means =
        |all: &BTreeSet<String>, wanted: &str| all.iter().any(|one| names::member(one) == names::member(wanted));
    for (role, members) in grants {
        let has = |member: &String| found.get(role).is_some_and(|found| means(found, member));
        added.extend(list(members).into_iter().filter(|member| !has(member)).map(|member| (role.clone(), member)));
    }
    let (managed, roles) = (list(&body["managed"]), list(&body["roles"]));
    let mut removed = Vec::new();
    for (role, members) in &found {
        let granted = grants.get(role).map(list).unwrap_or_default();
        let goes = |member: &&String| {
            (PUBLIC_MEMBERS.contains(&member.as_str()) && body["public"] != "stays")
                || (roles.contains(role.split(IF).next().unwrap_or(role))
                    && means(&managed, member)
                    && !means(&granted, member))
        };
        removed.extend(members.iter().filter(goes).map(|member| (role.clone(), member.clone())));
    }
    (added, removed)
}

/// The policy that was found with its bindings changed as a body says, everything else as it was; `None` if nothing
/// changes.
pub(crate) fn merged_policy(body: &Value, found: &Value) -> Option<Value> {
    let (added, removed) = additions_and_removals(body, found);
    if added.is_empty() && removed.is_empty() {
        return None;
    }
    let mut policy = found.clone();
    if !policy["bindings"].is_array() {
        policy["bindings"] = json!([]);
    }
    for each in policy["bindings"].as_array_mut().into_iter().flatten() {
        let role = bound(each).unwrap_or_default();
        if let Some(members) = each["members"].as_array_mut() {
            let goes = |member: &Value| removed.iter().any(|(r, m)| *r == role && member == m);
            members.retain(|member| !goes(member));
            members.extend(added.iter().filter(|(r, _)| *r == role).map(|(_, member)| Value::from(member.as_str())));
        }
    }
    let had = bindings(&policy);
    if let Some(all) = policy["bindings"].as_array_mut() {
        all.retain(|each| each["members"].as_array().is_some_and(|members| !members.is_empty()));
        let roles = added.iter().map(|(role, _)| role).filter(|role| !had.contains_key(*role));
        for role in roles.collect::<BTreeSet<_>>() {
            let members: Vec<&str> = added.iter().filter(|(r, _)| r == role).map(|(_, m)| m.as_str()).collect();
            let mut new = binding(role);
            new["members"] = json!(members);
            all.push(new);
        }
    }
    policy["version"] = json!(POLICY_VERSION);
    Some(policy)
}

pub(super) fn changes(body: &Value, policy: &Value) -> Vec<Change> {
    let (added, removed) = additions_and_removals(body, policy);
    let added = added.into_iter().map(|(role, member)| Change { path: role, from: Value::Null, to: member.into() });
    let removed = removed.into_iter().map(|(role, member)| Change { path: role, from: member.into(), to: Value::Null });
    added.chain(removed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resources::{body, objects};

    #[test]
    fn a_role_on_a_condition_is_another_than_the_role_itself() {
        let condition = objects("bucket", "ledger/");
        let role = within("roles/storage.objectUser", &condition);
        let mut own = binding(&role);
        own["members"] = json!(["serviceAccount:runner"]);
        assert_eq!(bound(&own).as_deref(), Some(role.as_str()));
        assert_eq!(own["condition"]["expression"], condition);
        let grants = Bindings::from([(role.clone(), BTreeSet::from(["serviceAccount:runner".to_owned()]))]);
        let body = body(&grants, &BTreeSet::from(["serviceAccount:runner".to_owned()]));
        assert_eq!(additions_and_removals(&body, &json!({"bindings": [own]})), (vec![], vec![]));
        // The role on the whole bucket is too much, and is removed; the condition of another member stays.
        let theirs =
            json!({"role": "roles/storage.objectUser", "members": ["user:x"], "condition": {"expression": "true"}});
        let whole = json!({"role": "roles/storage.objectUser", "members": ["serviceAccount:runner", "user:x"]});
        let (added, removed) = additions_and_removals(&body, &json!({"bindings": [whole, theirs]}));
        let runner = "serviceAccount:runner".to_owned();
        assert_eq!(added, [(role, runner.clone())]);
        assert_eq!(removed, [("roles/storage.objectUser".to_owned(), runner)]);
    }
}
