//! Service Usage v1 and Resource Manager v3: the project and what it may call.

use deploy::cloud::Api;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{next, page};
use super::operation::{Effect, any};
use super::state::{PROJECT_NUMBER, State, consumer, service_disabled};

/// What can be enabled beside the APIs that are here.
const OTHERS: [&str; 5] = [
    "artifactregistry.googleapis.com",
    "cloudbuild.googleapis.com",
    "compute.googleapis.com",
    "logging.googleapis.com",
    "monitoring.googleapis.com",
];

/// No request enables more at once.
const MAX_BATCH: usize = 20;

impl State {
    /// Counts a call of an API; refuses it while the API is not enabled.
    pub(super) fn enabled(&mut self, api: Api) -> Result<(), Failure> {
        let service = api.service();
        match self.enabled.get_mut(service) {
            Some(0) => return Ok(()),
            Some(lag) => *lag -= 1,
            None => {}
        }
        let mut failure = Failure::denied(format!(
            "{service} has not been used in project {PROJECT_NUMBER} before or it is disabled. Enable it, then retry. If you enabled this API recently, wait a few minutes for the action to propagate to our systems and retry."
        ));
        let consumer = consumer();
        failure.details.push(service_disabled(service, consumer.as_str().unwrap_or_default()));
        Err(failure)
    }

    pub(super) async fn service_usage(&mut self, call: &Call) -> Answer {
        if let Some(answer) = self.operations(call).await {
            return answer;
        }
        let target = call.target();
        match (call.method.as_str(), target.segments.as_slice(), target.verb) {
            ("GET", ["projects", _, "services"], None) => {
                let wanted = call.query("filter").and_then(|filter| filter.strip_prefix("state:"));
                let mut all: Vec<Value> = known().map(|service| self.service_state(service)).collect();
                all.retain(|service| wanted.is_none_or(|wanted| service["state"] == wanted));
                page(call, "services", all)
            }
            ("GET", ["projects", _, "services"], Some("batchGet")) => {
                let names = call.query.iter().filter(|(name, _)| name == "names");
                let states = names.map(|(_, name)| self.service(name.rsplit('/').next().unwrap_or_default()));
                Ok(json!({"services": states.collect::<Result<Vec<_>, _>>()?}))
            }
            ("POST", ["projects", _, "services"], Some("batchEnable")) => {
                let ids = call.body["serviceIds"].as_array().into_iter().flatten();
                let ids: Vec<String> = ids.filter_map(|id| Some(id.as_str()?.to_owned())).collect();
                if ids.is_empty() || ids.len() > MAX_BATCH {
                    return Err(Failure::invalid(format!("serviceIds must hold 1 to {MAX_BATCH} services.")));
                }
                self.enable(call, ids, true).await
            }
            ("GET", ["projects", _, "services", service], None) => self.service(service),
            ("POST", ["projects", _, "services", service], Some("generateServiceIdentity")) => {
                self.generate_identity(call, service).await
            }
            ("POST", ["projects", _, "services", service], Some("enable")) => {
                self.enable(call, vec![(*service).to_owned()], false).await
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn enable(&mut self, call: &Call, services: Vec<String>, batch: bool) -> Answer {
        for service in &services {
            self.service(service)?;
        }
        let metadata = json!({"@type": "type.googleapis.com/google.api.serviceusage.v1.OperationMetadata"});
        if services.iter().all(|service| self.enabled.contains_key(service)) {
            let response = self.services_enabled(&services, batch)?;
            let name = "operations/noop.DONE_OPERATION";
            return Ok(json!({"name": name, "metadata": metadata, "done": true, "response": response}));
        }
        let resource = format!("enabling {}", next());
        self.operate(call, "operations/acat.p2-", &resource, metadata, Effect::Enabled(services, batch)).await
    }

    pub(super) fn services_enabled(&mut self, services: &[String], batch: bool) -> Answer {
        for service in services {
            self.enabled.entry(service.clone()).or_insert(self.behaviour.api_lag);
        }
        let states: Vec<Value> = services.iter().map(|service| self.service_state(service)).collect();
        Ok(if batch {
            any("google.api.serviceusage.v1.BatchEnableServicesResponse", &json!({"services": states}))
        } else {
            any("google.api.serviceusage.v1.EnableServiceResponse", &json!({"service": states.first()}))
        })
    }

    fn service(&self, service: &str) -> Answer {
        if !known().any(|known| known == service) {
            return Err(Failure::denied(format!("Not found or permission denied for service(s): {service}.")));
        }
        Ok(self.service_state(service))
    }

    fn service_state(&self, service: &str) -> Value {
        let state = if self.enabled.contains_key(service) { "ENABLED" } else { "DISABLED" };
        json!({
            "name": format!("projects/{PROJECT_NUMBER}/services/{service}"),
            "config": {"name": service},
            "state": state,
            "parent": consumer(),
        })
    }

    pub(super) fn resource_manager(&mut self, call: &Call) -> Answer {
        let target = call.target();
        match (call.method.as_str(), target.segments.as_slice(), target.verb) {
            ("GET", ["projects", _], None) => Ok(json!({
                "name": consumer(),
                "projectId": self.project,
                "state": "ACTIVE",
                "displayName": self.project,
                "createTime": "2026-01-02T03:04:05.678Z",
                "updateTime": "2026-01-02T03:04:05.678Z",
                "etag": "W/\"1\"",
            })),
            ("POST", ["projects", _], Some(_)) => {
                let resource = format!("projects/{}", self.project);
                self.iam_policy(call, &resource).unwrap_or_else(|| Err(Failure::unknown(call)))
            }
            _ => Err(Failure::unknown(call)),
        }
    }
}

fn known() -> impl Iterator<Item = &'static str> {
    Api::ALL.into_iter().map(Api::service).chain(OTHERS)
}
