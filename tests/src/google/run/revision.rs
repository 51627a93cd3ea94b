//! Revisions: never changed, named once.

use http::Method;
use serde_json::{Value, json};

use super::super::call::{Answer, Call, Failure};
use super::super::json::{etag, now, page, text, uid};
use super::super::operation::any;
use super::super::state::State;
use super::{SERVICE, Service};

/// A revision.
#[derive(Clone, Debug)]
pub(super) struct Revision {
    /// As it is read.
    value: Value,
    /// What it was made of, without its name.
    template: Value,
    /// Why it did not start, and never will.
    fault: Option<String>,
}

impl Revision {
    fn name(&self) -> &str {
        text(&self.value, "name")
    }
}

impl State {
    pub(super) fn revisions(&mut self, call: &Call) -> Answer {
        let target = call.target();
        let name = target.segments[..6].join("/");
        let service = self.services.get(&name).ok_or_else(|| Failure::not_found(&name))?;
        match (&call.method, target.segments.get(7)) {
            (&Method::GET, None) => {
                let newest_first = service.revisions.iter().rev().map(|revision| revision.value.clone());
                page(call, "revisions", newest_first.collect())
            }
            (&Method::GET, Some(_)) => {
                let name = target.segments.join("/");
                let found = service.revisions.iter().find(|revision| revision.name() == name);
                found.map(|revision| revision.value.clone()).ok_or_else(|| Failure::not_found(&name))
            }
            _ => Err(Failure::unknown(call)),
        }
    }
}

/// Traffic goes to revisions that are there.
pub(super) fn check_traffic(service: &Service) -> Result<(), Failure> {
    for target in service.value["traffic"].as_array().into_iter().flatten() {
        let name = text(target, "revision");
        let end = format!("/{name}");
        if !name.is_empty() && !service.revisions.iter().any(|revision| revision.name().ends_with(&end)) {
            return Err(Failure::invalid(format!("service.traffic: Revision '{name}' does not exist.")));
        }
    }
    Ok(())
}

/// A change that covers the template and names a revision that is there is refused, even if the template is as it was.
/// <https://github.com/hashicorp/terraform-provider-google/issues/14569>
pub(super) fn check_name(name: &str, service: &Service, template: &Value, mask: Option<&str>) -> Result<(), Failure> {
    let covers = |path: &str| path == "*" || path.split('.').next() == Some("template");
    let covered = mask.filter(|mask| !mask.is_empty()).is_none_or(|mask| mask.split(',').any(covers));
    let given = text(template, "revision");
    let full = format!("{name}/revisions/{given}");
    if covered && !given.is_empty() && service.revisions.iter().any(|revision| revision.name() == full) {
        return Err(exists(given));
    }
    Ok(())
}

fn exists(revision: &str) -> Failure {
    let message = format!("Revision named '{revision}' with different configuration already exists.");
    Failure::new(409, "ALREADY_EXISTS", message)
}

/// Adds a revision of the service's template. A name that was used before has to mean the same template; with `force`
/// it may not be used again at all. With a `fault` it will not start.
pub(super) fn add(name: &str, service: &mut Service, force: bool, fault: Option<String>) -> Result<(), Failure> {
    let id = name.rsplit('/').next().unwrap_or_default();
    let mut template = service.value["template"].clone();
    let given = template.as_object_mut().and_then(|fields| fields.remove("revision"));
    let revision = match given.as_ref().and_then(Value::as_str).unwrap_or_default() {
        "" => format!("{id}-{:05}-abc", service.revisions.len() + 1),
        given => {
            let rest = given.strip_prefix(&format!("{id}-")).filter(|rest| !rest.is_empty() && given.len() <= 63);
            if rest.is_none() {
                return Err(Failure::invalid(format!(
                    "Violation in service.template.revision: `{given}` must begin with `{id}-`, and have at most 63 characters."
                )));
            }
            given.to_owned()
        }
    };
    let full = format!("{name}/revisions/{revision}");
    if let Some(other) = service.revisions.iter().find(|other| other.name() == full) {
        if force || other.template != template {
            return Err(exists(&revision));
        }
    } else {
        let mut value = template.clone();
        let time = now();
        let fixed = json!({
            "name": full, "uid": uid(), "generation": "1", "createTime": time, "updateTime": time, "service": id,
            "reconciling": true, "launchStage": "GA", "etag": format!("\"{}\"", etag()),
        });
        for (field, content) in fixed.as_object().into_iter().flatten() {
            value[field] = content.clone();
        }
        service.revisions.push(Revision { value, template, fault });
    }
    service.value["latestCreatedRevision"] = json!(full);
    Ok(())
}

const NOT_STARTED: &str = "The user-provided container failed the configured startup probe checks.";

/// Ends the reconciliation: the latest revision serves, or the one before goes on.
pub(super) fn settle(service: &mut Service, fails: bool) -> Answer {
    let latest = text(&service.value, "latestCreatedRevision").to_owned();
    let mut fault = Some(NOT_STARTED.to_owned());
    if let Some(revision) = service.revisions.iter_mut().find(|revision| revision.name() == latest) {
        if fails && revision.fault.is_none() {
            revision.fault = Some(NOT_STARTED.to_owned());
        }
        fault.clone_from(&revision.fault);
        revision.value["conditions"] = json!([condition(state(fault.is_none()), "")]);
        remove(&mut revision.value, "reconciling");
    }
    let value = &mut service.value;
    remove(value, "reconciling");
    value["observedGeneration"] = value["generation"].clone();
    if let Some(fault) = fault {
        let revision = latest.rsplit('/').next().unwrap_or_default();
        let message = format!("Revision '{revision}' is not ready and cannot serve traffic. {fault}");
        value["terminalCondition"] = condition(state(false), &message);
        return Err(Failure::new(400, "FAILED_PRECONDITION", message));
    }
    value["terminalCondition"] = condition(state(true), "");
    value["conditions"] = ["RoutesReady", "ConfigurationsReady"]
        .map(|kind| {
            let mut condition = condition(state(true), "");
            condition["type"] = json!(kind);
            condition
        })
        .to_vec()
        .into();
    value["latestReadyRevision"] = json!(latest);
    value["trafficStatuses"] = value["traffic"].clone();
    Ok(any(SERVICE, value))
}

/// False is absent.
pub(super) fn remove(value: &mut Value, name: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(name);
    }
}

/// A condition of type Ready.
pub(super) fn condition(state: &str, message: &str) -> Value {
    let mut condition = json!({"type": "Ready", "state": state, "lastTransitionTime": now()});
    if !message.is_empty() {
        condition["message"] = json!(message);
    }
    condition
}

fn state(ready: bool) -> &'static str {
    if ready { "CONDITION_SUCCEEDED" } else { "CONDITION_FAILED" }
}
