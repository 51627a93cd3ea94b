//! Checks and changes of IAM policies: <https://cloud.google.com/iam/docs/reference/rest/v1/Policy>.

use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use tonic::Status;

use super::error::invalid;

/// The etag of a resource whose policy was never set; `ACAB` in base64, as the service's own.
pub(super) const EMPTY_ETAG: &[u8] = &[0x00, 0x20, 0x01];
/// The version of policies with conditions.
const CONDITIONAL_VERSION: i32 = 3;
const MEMBER_PREFIXES: [&str; 10] = [
    "user:",
    "serviceAccount:",
    "group:",
    "domain:",
    "deleted:",
    "principal://",
    "principalSet://",
    "projectOwner:",
    "projectEditor:",
    "projectViewer:",
];

/// # Errors
/// INVALID_ARGUMENT for a version that no policy has.
pub(super) fn check_version(version: i32) -> Result<(), Status> {
    match version {
        0 | 1 | CONDITIONAL_VERSION => Ok(()),
        _ => Err(invalid(format!("Invalid policy version given (version={version}): it has to be 0, 1 or 3."))),
    }
}

/// `current` with the fields of `policy` that `mask` names; without a mask, with all fields but the audit
/// configuration.
///
/// # Errors
/// INVALID_ARGUMENT for a field that no policy has.
pub(super) fn merged(
    current: iam::Policy,
    policy: iam::Policy,
    mask: Option<&prost_types::FieldMask>,
) -> Result<iam::Policy, Status> {
    let Some(mask) = mask.filter(|mask| !mask.paths.is_empty()) else {
        return Ok(iam::Policy { audit_configs: current.audit_configs, ..policy });
    };
    let mut merged = current;
    for path in &mask.paths {
        match path.trim() {
            "bindings" => merged.bindings.clone_from(&policy.bindings),
            "audit_configs" | "auditConfigs" => merged.audit_configs.clone_from(&policy.audit_configs),
            "version" | "etag" => {}
            _ => {
                return Err(invalid(format!(
                    "Invalid update_mask provided in the SetIamPolicyRequest: '{path}' is not a known Policy field."
                )));
            }
        }
    }
    merged.version = merged.version.max(policy.version);
    Ok(merged)
}

/// # Errors
/// INVALID_ARGUMENT for a malformed role or member, and for a condition in a policy of a version without conditions.
pub(super) fn check_policy(policy: &iam::Policy) -> Result<(), Status> {
    check_version(policy.version)?;
    for iam::Binding { role, members, condition } in &policy.bindings {
        if !(role.starts_with("roles/") || role.contains("/roles/")) {
            return Err(invalid(format!(
                "Role ({role}) is not a valid role: it has the form roles/pubsub.publisher or projects/P/roles/R."
            )));
        }
        if let Some(member) = members.iter().find(|member| !is_member(member)) {
            return Err(invalid(format!(
                "The member {member} is of an unknown type. Please set a valid type prefix for the member, such as \
                 serviceAccount:NAME@PROJECT.iam.gserviceaccount.com."
            )));
        }
        if condition.is_some() && policy.version != CONDITIONAL_VERSION {
            return Err(invalid(format!(
                "A policy with a conditional binding has version 3; found version {} and a condition on {role}.",
                policy.version
            )));
        }
    }
    Ok(())
}

fn is_member(member: &str) -> bool {
    matches!(member, "allUsers" | "allAuthenticatedUsers")
        || MEMBER_PREFIXES.iter().any(|prefix| member.strip_prefix(prefix).is_some_and(|rest| !rest.is_empty()))
}
