//! IAM policies on resources: read, modify, write with an etag.
//! <https://cloud.google.com/iam/docs/reference/rest/v1/Policy>

use std::sync::PoisonError;

use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{etag, text, without_defaults};
use super::state::State;

/// The etag of a policy that was never set.
const NEVER_SET: &str = "ACAB";

impl State {
    /// `:getIamPolicy`, `:setIamPolicy` and `:testIamPermissions` on a resource that exists; `None` for another verb.
    pub(super) fn iam_policy(&mut self, call: &Call, resource: &str) -> Option<Answer> {
        match call.target().verb? {
            "getIamPolicy" => {
                let body = &call.body["options"]["requestedPolicyVersion"];
                let asked = call.query("options.requestedPolicyVersion").and_then(|version| version.parse().ok());
                Some(Ok(self.policy_as(resource, asked.or(body.as_u64()))))
            }
            "setIamPolicy" => Some(self.set_policy(resource, &call.body["policy"]).map_err(|failure| match failure {
                Stale => stale(),
                Refused(failure) => failure,
            })),
            "testIamPermissions" => Some(Ok(self.permissions(call.body["permissions"].as_array()))),
            _ => None,
        }
    }

    pub(super) fn policy(&self, resource: &str) -> Value {
        self.policies.get(resource).cloned().unwrap_or_else(|| json!({"etag": NEVER_SET}))
    }

    /// The policy as a reader sees it who asked for this version: before the third, roles on a condition have other
    /// names.
    /// <https://cloud.google.com/iam/docs/troubleshooting-withcond>
    pub(super) fn policy_as(&self, resource: &str, version: Option<u64>) -> Value {
        let mut policy = self.policy(resource);
        if version != Some(3) && policy["version"] == 3 {
            policy["version"] = json!(1);
            for binding in policy["bindings"].as_array_mut().into_iter().flatten() {
                if binding.as_object_mut().and_then(|fields| fields.remove("condition")).is_some() {
                    binding["role"] = json!(format!("{}_withcond_2b17cc25d2cd9e2c54d8", text(binding, "role")));
                }
            }
        }
        policy
    }

    /// Replaces the policy. Without an etag it replaces whatever is there, as Google does.
    pub(super) fn set_policy(&mut self, resource: &str, policy: &Value) -> Result<Value, NotSet> {
        let given = policy["etag"].as_str().filter(|etag| !etag.is_empty());
        let current = self.policy(resource);
        if given.is_some_and(|given| current["etag"] != given) {
            return Err(Stale);
        }
        for binding in policy["bindings"].as_array().into_iter().flatten() {
            if !binding["role"].as_str().is_some_and(|role| role.contains("roles/")) {
                let role = &binding["role"];
                return Err(Refused(Failure::invalid(format!("Role {role} is not supported for this resource."))));
            }
            for member in binding["members"].as_array().into_iter().flatten() {
                self.member(member.as_str().unwrap_or_default()).map_err(Refused)?;
            }
        }
        let conditional = |binding: &Value| !binding["condition"].is_null();
        let conditional = policy["bindings"].as_array().is_some_and(|bindings| bindings.iter().any(conditional));
        if (conditional || current["version"] == 3) && policy["version"] != 3 {
            let rule = "Specified policy version is lower than the version of the existing policy, which has \
                conditions: it must be 3.";
            return Err(Refused(Failure::invalid(rule.to_owned())));
        }
        let mut bindings = policy["bindings"].clone();
        without_defaults(&mut bindings);
        let mut set = json!({"version": if conditional { 3 } else { 1 }, "etag": etag()});
        if let Some(bindings) = bindings.as_array_mut() {
            bindings.retain(|binding| binding["members"].is_array());
            set["bindings"] = json!(bindings);
        }
        self.policies.insert(resource.to_owned(), set.clone());
        Ok(set)
    }

    fn member(&mut self, member: &str) -> Result<(), Failure> {
        match member.split_once(':') {
            Some(("serviceAccount", email)) if !self.use_account(email) => {
                Err(Failure::invalid(format!("Service account {email} does not exist.")))
            }
            Some(_) => Ok(()),
            None if ["allUsers", "allAuthenticatedUsers"].contains(&member) => Ok(()),
            None => Err(Failure::invalid(format!("Invalid member: {member}"))),
        }
    }

    pub(super) fn permissions(&self, asked: Option<&Vec<Value>>) -> Value {
        let asked = asked.into_iter().flatten().filter_map(Value::as_str);
        let denied = self.denied.lock().unwrap_or_else(PoisonError::into_inner);
        let granted: Vec<&str> = asked.filter(|permission| !denied.contains(*permission)).collect();
        if granted.is_empty() { json!({}) } else { json!({"permissions": granted}) }
    }
}

/// Why a policy was not set.
pub(super) enum NotSet {
    /// It has changed since its etag was read.
    Stale,
    /// It names what is not there.
    Refused(Failure),
}

use NotSet::{Refused, Stale};

fn stale() -> Failure {
    Failure::aborted(
        "There were concurrent policy changes. Please retry the whole read-modify-write with exponential backoff.",
    )
}
