//! Secret Manager v1: secrets, their versions without values, and who may read them.
//! <https://cloud.google.com/secret-manager/docs/reference/rest/v1/projects.secrets>

use deploy::plan::bindings;
use http::Method;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{etag, now, page, text};
use super::state::{PROJECT_NUMBER, State};

/// A secret.
#[derive(Debug, Default)]
pub(super) struct Secret {
    value: Value,
    versions: usize,
}

const ACCESSOR: &str = "roles/secretmanager.secretAccessor";

impl State {
    pub(super) fn secrets(&mut self, call: &Call) -> Answer {
        let target = call.target();
        match (call.method.as_str(), target.segments.as_slice()) {
            ("POST", ["projects", _, "secrets"]) => {
                let id = call.query("secretId").unwrap_or_default();
                let name = self.secret_name(id);
                if self.secrets.contains_key(&name) {
                    return Err(Failure::exists(&name));
                }
                let mut value = call.body.clone();
                value["name"] = json!(name);
                value["createTime"] = json!(now());
                value["etag"] = json!(etag());
                self.secrets.insert(name, Secret { value: value.clone(), versions: 0 });
                Ok(value)
            }
            ("GET", ["projects", _, "secrets"]) => {
                page(call, "secrets", self.secrets.values().map(|secret| secret.value.clone()).collect())
            }
            (_, ["projects", _, "secrets", id, rest @ ..]) => {
                let name = self.secret_name(id);
                if !self.secrets.contains_key(&name) {
                    return Err(missing(&name));
                }
                self.secret(call, &name, rest)
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    fn secret(&mut self, call: &Call, name: &str, rest: &[&str]) -> Answer {
        if rest.is_empty()
            && let Some(answer) = self.iam_policy(call, name)
        {
            return answer;
        }
        let Some(secret) = self.secrets.get_mut(name) else { return Err(missing(name)) };
        match (&call.method, rest, call.target().verb) {
            (&Method::GET, [], None) => Ok(secret.value.clone()),
            (&Method::POST, [], Some("addVersion")) => {
                secret.versions += 1;
                Ok(version(name, secret.versions))
            }
            (&Method::GET, ["versions", wanted], None) => {
                let number = if *wanted == "latest" { Some(secret.versions) } else { wanted.parse().ok() };
                let number = number.filter(|number| (1..=secret.versions).contains(number));
                number.map(|number| version(name, number)).ok_or_else(|| missing(&format!("{name}/versions/{wanted}")))
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    /// By the project's number, as the API names them.
    fn secret_name(&self, id: &str) -> String {
        format!("projects/{PROJECT_NUMBER}/secrets/{id}")
    }

    /// Cloud Run makes no revision that cannot read its secrets.
    pub(super) fn check_secrets(&self, template: &Value) -> Result<(), Failure> {
        let member = format!("serviceAccount:{}", text(template, "serviceAccount"));
        let containers = template["containers"].as_array().into_iter().flatten();
        for variable in containers.filter_map(|container| container["env"].as_array()).flatten() {
            let reference = &variable["valueSource"]["secretKeyRef"];
            let Some(id) = reference["secret"].as_str() else { continue };
            let name = self.secret_name(id.rsplit('/').next().unwrap_or_default());
            let granted = bindings(&self.policy(&name));
            if !granted.get(ACCESSOR).is_some_and(|members| members.contains(&member)) {
                return Err(Failure::denied(format!(
                    "Permission denied on secret: {name}/versions/{} for Revision service account {}. The service account used must be granted the 'Secret Manager Secret Accessor' role ({ACCESSOR}) at the secret, project or higher level.",
                    text(reference, "version"),
                    text(template, "serviceAccount")
                )));
            }
            if self.secrets.get(&name).is_none_or(|secret| secret.versions == 0) {
                return Err(missing(&format!("{name}/versions/{}", text(reference, "version"))));
            }
        }
        Ok(())
    }
}

fn version(name: &str, number: usize) -> Value {
    json!({"name": format!("{name}/versions/{number}"), "state": "ENABLED", "createTime": now()})
}

fn missing(name: &str) -> Failure {
    Failure::new(404, "NOT_FOUND", format!("Secret [{name}] not found or has no versions."))
}
