//! IAM policies over REST.

use axum::http::Method;
use axum::response::Response;
use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use googleapis_tonic_google_iam_v1::google::r#type::Expr;
use serde::{Deserialize, Serialize};
use tonic::Status;

use super::request::{no_method, parse};
use super::response::answer;
use super::scalars::{Base64, int, mask};
use crate::error::invalid;
use crate::shared::Shared;

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct Policy {
    #[serde(skip_serializing_if = "is_zero", deserialize_with = "int")]
    version: i32,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bindings: Vec<Binding>,
    #[serde(alias = "audit_configs", skip_serializing_if = "Vec::is_empty")]
    audit_configs: Vec<AuditConfig>,
    etag: Base64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Binding {
    role: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    condition: Option<Condition>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Condition {
    expression: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    title: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    location: String,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct AuditConfig {
    service: String,
    #[serde(alias = "audit_log_configs")]
    audit_log_configs: Vec<AuditLogConfig>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
struct AuditLogConfig {
    #[serde(alias = "log_type")]
    log_type: String,
    #[serde(alias = "exempted_members", skip_serializing_if = "Vec::is_empty")]
    exempted_members: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub(super) struct SetIamPolicyRequest {
    policy: Option<Policy>,
    #[serde(alias = "update_mask", deserialize_with = "mask")]
    update_mask: Vec<String>,
}

impl SetIamPolicyRequest {
    pub(super) fn for_resource(self, resource: &str) -> Result<iam::SetIamPolicyRequest, Status> {
        let policy = self.policy.map(iam::Policy::try_from).transpose()?;
        let update_mask = Some(prost_types::FieldMask { paths: self.update_mask });
        Ok(iam::SetIamPolicyRequest { resource: resource.into(), policy, update_mask })
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Permissions {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<String>,
}

impl TryFrom<Policy> for iam::Policy {
    type Error = Status;

    fn try_from(policy: Policy) -> Result<Self, Status> {
        let bindings = policy.bindings.into_iter().map(|binding| iam::Binding {
            role: binding.role,
            members: binding.members,
            condition: binding.condition.map(|condition| {
                let Condition { expression, title, description, location } = condition;
                Expr { expression, title, description, location }
            }),
        });
        let audit_configs = policy.audit_configs.into_iter().map(|AuditConfig { service, audit_log_configs }| {
            let logs = audit_log_configs.into_iter().map(iam::AuditLogConfig::try_from);
            Ok(iam::AuditConfig { service, audit_log_configs: logs.collect::<Result<_, Status>>()? })
        });
        Ok(Self {
            version: policy.version,
            bindings: bindings.collect(),
            audit_configs: audit_configs.collect::<Result<_, Status>>()?,
            etag: policy.etag.0,
        })
    }
}

impl TryFrom<AuditLogConfig> for iam::AuditLogConfig {
    type Error = Status;

    fn try_from(log: AuditLogConfig) -> Result<Self, Status> {
        let AuditLogConfig { log_type, exempted_members } = log;
        match iam::audit_log_config::LogType::from_str_name(&log_type) {
            Some(log_type) => Ok(Self { log_type: log_type as i32, exempted_members }),
            None => Err(invalid(format!(
                "Invalid value for logType: expected ADMIN_READ, DATA_READ or DATA_WRITE; found {log_type:?}."
            ))),
        }
    }
}

impl From<iam::Policy> for Policy {
    fn from(policy: iam::Policy) -> Self {
        let bindings = policy.bindings.into_iter().map(|binding| Binding {
            role: binding.role,
            members: binding.members,
            condition: binding.condition.map(|condition| {
                let Expr { expression, title, description, location } = condition;
                Condition { expression, title, description, location }
            }),
        });
        let audit_configs = policy.audit_configs.into_iter().map(|config| AuditConfig {
            service: config.service,
            audit_log_configs: config
                .audit_log_configs
                .into_iter()
                .map(|log| AuditLogConfig {
                    log_type: log.log_type().as_str_name().into(),
                    exempted_members: log.exempted_members,
                })
                .collect(),
        });
        Self {
            version: policy.version,
            bindings: bindings.collect(),
            audit_configs: audit_configs.collect(),
            etag: Base64(policy.etag),
        }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
fn is_zero(version: &i32) -> bool {
    *version == 0
}

/// A request about the policy of this resource.
pub(super) async fn serve(
    shared: &Shared,
    method: &Method,
    resource: &str,
    verb: &str,
    requested_policy_version: i32,
    body: &[u8],
) -> Result<Response, Status> {
    match (method, verb) {
        (&Method::GET, "getIamPolicy") => {
            let options = Some(iam::GetPolicyOptions { requested_policy_version });
            let get = iam::GetIamPolicyRequest { resource: resource.into(), options };
            Ok(answer(&Policy::from(shared.with_state(|state, _| state.get_iam_policy(&get))?)))
        }
        (&Method::POST, "setIamPolicy") => {
            let set = parse::<SetIamPolicyRequest>(body)?.for_resource(resource)?;
            Ok(answer(&Policy::from(shared.update_durably(|state, _| state.set_iam_policy(set)).await?)))
        }
        (&Method::POST, "testIamPermissions") => {
            let Permissions { permissions } = parse(body)?;
            let test = iam::TestIamPermissionsRequest { resource: resource.into(), permissions };
            let iam::TestIamPermissionsResponse { permissions } =
                shared.with_state(|state, _| state.test_iam_permissions(test))?;
            Ok(answer(&Permissions { permissions }))
        }
        _ => Err(no_method(method, &format!("{resource}:{verb}"))),
    }
}
