//! Long-running operations: <https://google.aip.dev/151>.

use serde_json::{Value, json};

use super::agent::refused_by_the_agent;
use super::call::{Answer, Call, Failure};
use super::fault::FaultKind;
use super::json::{next, page};
use super::state::State;

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    name: String,
    /// What it is about: each request for this also brings it forward.
    resource: String,
    metadata: Value,
    effect: Effect,
    fails: bool,
    /// The error in which it then ends instead of its own.
    failure: Option<Failure>,
    remaining: u32,
    result: Option<Answer>,
}

/// What is so once the operation is done. Names are full names.
#[derive(Clone, Debug)]
pub(super) enum Effect {
    /// The service's latest revision serves.
    ServiceReady(String),
    /// The service is gone.
    ServiceDeleted(String),
    /// The trigger has its subscription.
    TriggerReady(String),
    /// The trigger is as in the value.
    TriggerUpdated(String, Box<Value>),
    /// The trigger and its subscription are gone.
    TriggerDeleted(String),
    /// The trigger is refused, since Eventarc's agent has no role yet.
    TriggerRefused(String),
    /// Pub/Sub's service agent is there.
    AgentCreated,
    /// These APIs can be called, in a while; whether they were enabled as a batch.
    Enabled(Vec<String>, bool),
}

impl State {
    /// Starts an operation; `parent` is where operations of this API are: `projects/P/locations/R/operations/`.
    pub(super) async fn operate(
        &mut self,
        call: &Call,
        parent: &str,
        resource: &str,
        metadata: Value,
        effect: Effect,
    ) -> Answer {
        let failure = self.next_failure.take();
        let operation = Operation {
            name: format!("{parent}{}", next()),
            resource: resource.to_owned(),
            metadata,
            effect,
            fails: call.fault == Some(FaultKind::OperationFails) || failure.is_some(),
            failure,
            remaining: self.behaviour.polls,
            result: None,
        };
        self.operations.push(operation);
        let index = self.operations.len() - 1;
        if self.behaviour.polls == 0 {
            self.complete(index).await;
        }
        Ok(self.operations[index].json())
    }

    /// Time passes for the operations on this resource, or of this name.
    pub(super) async fn advance(&mut self, name: &str) {
        for index in 0..self.operations.len() {
            let operation = &mut self.operations[index];
            if operation.result.is_none() && [&operation.name, &operation.resource].iter().any(|other| *other == name) {
                operation.remaining = operation.remaining.saturating_sub(1);
                if operation.remaining == 0 {
                    self.complete(index).await;
                }
            }
        }
    }

    /// Whether an operation on this resource is running.
    pub(super) fn is_busy(&self, resource: &str) -> bool {
        self.operations.iter().any(|operation| operation.resource == resource && operation.result.is_none())
    }

    async fn complete(&mut self, index: usize) {
        let fails = self.operations[index].fails;
        let result = match self.operations[index].effect.clone() {
            Effect::ServiceReady(name) => self.service_ready(&name, fails),
            Effect::TriggerReady(name) => self.trigger_ready(&name, fails).await,
            Effect::TriggerRefused(name) => {
                self.triggers.remove(&name);
                Err(refused_by_the_agent())
            }
            Effect::ServiceDeleted(name) if fails => self.service_kept(&name),
            _ if fails => Err(Failure::internal("Internal error occurred.")),
            Effect::ServiceDeleted(name) => self.service_deleted(&name),
            Effect::TriggerUpdated(name, value) => self.trigger_updated(&name, *value).await,
            Effect::TriggerDeleted(name) => self.trigger_deleted(&name).await,
            Effect::AgentCreated => self.agent_created(),
            Effect::Enabled(services, batch) => self.services_enabled(&services, batch),
        };
        let failure = self.operations[index].failure.clone();
        self.operations[index].result = Some(failure.map_or(result, Err));
    }

    /// Get, wait and list; `None` if it is none of them.
    pub(super) async fn operations(&mut self, call: &Call) -> Option<Answer> {
        let target = call.target();
        let name = target.segments.join("/");
        let at = target.segments.iter().rposition(|segment| *segment == "operations")?;
        // A segment with an odd index is the name of something.
        (at % 2 == 0).then_some(())?;
        if at + 1 == target.segments.len() {
            let listed = self.operations.iter().filter(|operation| operation.name.starts_with(&format!("{name}/")));
            let listed = listed.map(Operation::json).collect();
            return Some(page(call, "operations", listed));
        }
        self.advance(&name).await;
        let operation = self.operations.iter().find(|operation| operation.name == name);
        Some(operation.map(Operation::json).ok_or_else(|| Failure::not_found(&name)))
    }
}

impl Operation {
    fn json(&self) -> Value {
        let mut json = json!({"name": self.name, "metadata": self.metadata});
        if let Some(result) = &self.result {
            json["done"] = json!(true);
            match result {
                Ok(response) => json["response"] = response.clone(),
                Err(failure) => json["error"] = failure.rpc_status(),
            }
        }
        json
    }
}

/// A value of a named message type, as `google.protobuf.Any` in JSON.
pub(super) fn any(kind: &str, value: &Value) -> Value {
    let mut any = json!({"@type": format!("type.googleapis.com/{kind}")});
    for (name, field) in value.as_object().into_iter().flatten() {
        any[name] = field.clone();
    }
    any
}
