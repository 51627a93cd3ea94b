//! Cloud Run Admin v2: services and their revisions.
//! <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services>

mod archive;
mod defaults;
mod revision;

use deploy::cloud::Api;
use http::Method;
use serde_json::{Value, json};

use super::call::{Answer, Call, Failure};
use super::json::{apply, etag, now, page, text, uid, without_defaults};
use super::operation::{Effect, any};
use super::state::{PROJECT_NUMBER, State};

const SERVICE: &str = "google.cloud.run.v2.Service";
const SCHEMA: &str = "GoogleCloudRunV2Service";

/// A service.
#[derive(Clone, Debug)]
pub(super) struct Service {
    /// As it is read.
    pub(super) value: Value,
    /// Oldest first.
    revisions: Vec<revision::Revision>,
}

impl State {
    pub(super) async fn run(&mut self, call: &Call) -> Answer {
        if let Some(answer) = self.operations(call).await {
            return answer;
        }
        let target = call.target();
        let name = target.segments.join("/");
        match (call.method.as_str(), target.segments.as_slice()) {
            ("POST", ["projects", _, "locations", _, "services"]) => {
                let id = call.query("serviceId").unwrap_or_default();
                self.create_service(call, &format!("{name}/{id}")).await
            }
            ("GET", ["projects", _, "locations", _, "services"]) => {
                let names: Vec<String> =
                    self.services.keys().filter(|other| other.starts_with(&name)).cloned().collect();
                for name in &names {
                    self.advance(name).await;
                }
                let listed = names.iter().filter_map(|name| self.services.get(name));
                page(call, "services", listed.map(|service| service.value.clone()).collect())
            }
            (_, ["projects", _, "locations", _, "services", _]) => {
                self.advance(&name).await;
                self.service_call(call, &name).await
            }
            (_, ["projects", _, "locations", _, "services", _, "revisions", ..]) => self.revisions(call),
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn service_call(&mut self, call: &Call, name: &str) -> Answer {
        let Some(service) = self.services.get(name).cloned() else {
            let create = call.method == Method::PATCH && call.is("allowMissing");
            return if create { self.create_service(call, name).await } else { Err(Failure::not_found(name)) };
        };
        if let Some(answer) = self.iam_policy(call, name) {
            return answer;
        }
        match call.method {
            Method::GET => Ok(service.value),
            Method::PATCH => self.patch_service(call, name).await,
            Method::DELETE => {
                same_etag(&service.value, call.query("etag").unwrap_or_default(), name)?;
                if call.is("validateOnly") {
                    return Ok(validated(&service.value));
                }
                let Some(service) = self.services.get_mut(name) else { return Err(Failure::not_found(name)) };
                service.value["deleteTime"] = json!(now());
                service.value["reconciling"] = json!(true);
                let metadata = any(SERVICE, &service.value);
                self.operate(call, &operations(name), name, metadata, Effect::ServiceDeleted(name.to_owned())).await
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    async fn create_service(&mut self, call: &Call, name: &str) -> Answer {
        let id = name.rsplit('/').next().unwrap_or_default();
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = id.len() < 50 && id.starts_with(|c: char| c.is_ascii_lowercase()) && !id.ends_with('-');
        if !valid || !id.chars().all(plain) {
            return Err(Failure::invalid(format!(
                "Violation in CreateServiceRequest.service_id: service id `{id}` must use only lowercase alphanumeric characters and dashes, begin with a letter, not end with a dash, and be less than 50 characters."
            )));
        }
        if self.services.contains_key(name) {
            return Err(Failure::exists(name));
        }
        let region = name.split('/').nth(3).unwrap_or_default();
        let uri = format!("https://{id}-{PROJECT_NUMBER}.{region}.run.app");
        let now = now();
        let value = json!({
            "name": name, "uid": uid(), "generation": "0", "createTime": now, "updateTime": now,
            "creator": "deployer@example.com", "lastModifier": "deployer@example.com",
            "uri": uri, "urls": [uri],
        });
        self.change_service(call, name, Service { value, revisions: Vec::new() }, None).await
    }

    async fn patch_service(&mut self, call: &Call, name: &str) -> Answer {
        let Some(service) = self.services.get(name).cloned() else { return Err(Failure::not_found(name)) };
        if service.value["deleteTime"].is_string() {
            return Err(Failure::aborted(format!("Service {name} is being deleted.")));
        }
        same_etag(&service.value, text(&call.body, "etag"), name)?;
        self.change_service(call, name, service, call.query("updateMask")).await
    }

    /// Brings a service to what the body says, and starts the operation that makes it ready.
    async fn change_service(&mut self, call: &Call, name: &str, mut service: Service, mask: Option<&str>) -> Answer {
        let mut wanted = call.body.clone();
        self.documents.of(Api::Run).without_output_only(SCHEMA, &mut wanted);
        for kept in ["name", "etag"] {
            wanted[kept] = service.value[kept].clone();
        }
        let before = service.value.clone();
        if mask == Some("*") {
            // Everything that can be set is as in the body, or not there.
            let mut settable = before.clone();
            self.documents.of(Api::Run).without_output_only(SCHEMA, &mut settable);
            let fields = service.value.as_object_mut();
            fields.into_iter().for_each(|fields| fields.retain(|name, _| settable.get(name).is_none()));
        }
        apply(mask.filter(|mask| *mask != "*"), &wanted, &mut service.value);
        without_defaults(&mut service.value);
        defaults::fill(&mut service.value)?;
        revision::check_traffic(&service)?;
        self.check_service(&mut service.value).await?;

        let changed = service.value != before;
        if changed {
            revision::check_name(name, &service, &call.body["template"], mask)?;
        }
        let template = &service.value["template"];
        let force = call.is("forceNewRevision");
        let fresh = *template != before["template"] || force;
        if fresh {
            let fault = self.archive_fault(&service.value["template"]).await;
            revision::add(name, &mut service, force, fault)?;
        }
        if call.is("validateOnly") {
            return Ok(validated(&service.value));
        }
        if fresh && !service.value["template"]["containers"][0]["sourceCode"].is_null() {
            self.use_capacity()?;
        }
        if changed || fresh {
            let generation = text(&service.value, "generation").parse::<u64>().unwrap_or_default() + 1;
            service.value["generation"] = json!(generation.to_string());
            service.value["etag"] = json!(format!("\"{}\"", etag()));
            service.value["updateTime"] = json!(now());
            service.value["reconciling"] = json!(true);
            service.value["terminalCondition"] = revision::condition("CONDITION_RECONCILING", "");
        }
        let metadata = any(SERVICE, &service.value);
        self.services.insert(name.to_owned(), service);
        self.operate(call, &operations(name), name, metadata, Effect::ServiceReady(name.to_owned())).await
    }

    /// Archives are made ready by few at a time.
    fn use_capacity(&mut self) -> Result<(), Failure> {
        let left = self.behaviour.exhausted;
        if left == 0 {
            return Ok(());
        }
        self.behaviour.exhausted -= 1;
        let failure = Failure::new(429, "RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota).");
        if left.is_multiple_of(2) {
            return Err(failure);
        }
        self.next_failure = Some(failure);
        Ok(())
    }

    /// What a service refers to has to be there; an archive is given with its generation.
    async fn check_service(&mut self, value: &mut Value) -> Result<(), Failure> {
        let template = &mut value["template"];
        let email = text(template, "serviceAccount");
        if !self.use_account(email) {
            return Err(Failure::denied(format!(
                "Permission 'iam.serviceaccounts.actAs' denied on service account {email} (or it may not exist)."
            )));
        }
        self.check_secrets(template)?;
        for container in template["containers"].as_array_mut().into_iter().flatten() {
            let Some(source) = container.pointer_mut("/sourceCode/cloudStorageSource") else { continue };
            let (bucket, object) = (text(source, "bucket"), text(source, "object"));
            let (there, given) = (self.generation(bucket, object).await, text(source, "generation"));
            if there == "0" {
                return Err(Failure::invalid(format!("The source code archive gs://{bucket}/{object} was not found.")));
            }
            if !given.is_empty() && given != there {
                return Err(Failure::invalid(format!(
                    "The source code archive gs://{bucket}/{object}#{given} was not found: its generation is {there}."
                )));
            }
            source["generation"] = json!(there);
        }
        Ok(())
    }

    /// Why no revision can be made from an archive that the template names; it shows when the revision is made.
    async fn archive_fault(&self, template: &Value) -> Option<String> {
        for container in template["containers"].as_array().into_iter().flatten() {
            let source = &container["sourceCode"]["cloudStorageSource"];
            if source.is_null() {
                continue;
            }
            let (bucket, object) = (text(source, "bucket"), text(source, "object"));
            let fault = archive::fault(&self.data(bucket, object).await, self.behaviour.zip_archives);
            if let Some(fault) = fault {
                return Some(format!("The source code archive gs://{bucket}/{object} cannot be used: {fault}."));
            }
        }
        None
    }

    /// The latest revision serves, or does not start.
    pub(super) fn service_ready(&mut self, name: &str, fails: bool) -> Answer {
        let Some(service) = self.services.get_mut(name) else { return Err(Failure::not_found(name)) };
        revision::settle(service, fails)
    }

    /// A deletion has failed.
    pub(super) fn service_kept(&mut self, name: &str) -> Answer {
        if let Some(service) = self.services.get_mut(name) {
            revision::remove(&mut service.value, "deleteTime");
            revision::remove(&mut service.value, "reconciling");
        }
        Err(Failure::internal(format!("{name} was not deleted: internal error.")))
    }

    pub(super) fn service_deleted(&mut self, name: &str) -> Answer {
        self.policies.remove(name);
        let service = self.services.remove(name).ok_or_else(|| Failure::not_found(name))?;
        Ok(any(SERVICE, &service.value))
    }
}

/// Where the operations on a service are.
fn operations(name: &str) -> String {
    let location: Vec<&str> = name.split('/').take(4).collect();
    format!("{}/operations/", location.join("/"))
}

/// The operation of a dry run, done at once.
fn validated(value: &Value) -> Value {
    json!({"done": true, "response": any(SERVICE, value)})
}

fn same_etag(value: &Value, given: &str, name: &str) -> Result<(), Failure> {
    if given.is_empty() || value["etag"] == given {
        return Ok(());
    }
    Err(Failure::aborted(format!(
        "Conflict for resource '{name}': version '{given}' was specified but current version is '{}'.",
        text(value, "etag")
    )))
}
