//! What a deployment would do: pure, from declared and found resources to steps in the order of their needs.
//!
//! [`plan`] compares the [declared resources](crate::resources) with a [`State`] and says for each: create, update,
//! replace, delete, or nothing. A field that a body leaves out is not compared, so what the declaration does not
//! mention, and what a server fills in, is never a change.
//!
//! # Layout
//!
//! - `state`: what was found, and its snapshots
//! - `diff`: which declared fields differ, and the body of an update
//! - `policy`: the same for IAM policies
//! - `names`: names of Google Cloud that mean the same
//! - `print`: a plan as people read it, and as JSON

mod diff;
mod names;
mod policy;
mod print;
mod state;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::resources::{Id, Kind, Resource, Target, revocation, secrets_in};

pub(crate) use diff::narrowed;
pub use diff::{Change, merged};
pub(crate) use names::{Home, canonical};
pub(crate) use policy::{POLICY_VERSION, merged_policy};
pub use policy::{additions_and_removals, bindings, no_access_control};
pub use state::{SnapshotError, State};

/// What happens to a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It is not there.
    Create,
    /// These fields differ.
    Update(Vec<Change>),
    /// A field differs that cannot be changed: it is deleted and made again.
    Replace {
        /// What is lost by it.
        why: String,
        /// What differs.
        changes: Vec<Change>,
    },
    /// It is labelled as this deployment's, and not declared any more.
    Delete,
    /// It is as declared.
    Nothing,
}

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// To what.
    pub id: Id,
    /// What.
    pub action: Action,
    /// The steps of this plan that come before, by their resources.
    pub needs: Vec<Id>,
    /// The resource as it should be; `None` for one to delete.
    pub resource: Option<Resource>,
}

/// Steps in an order in which each comes after those that it needs. Resources without a step are as declared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do.
    pub steps: Vec<Step>,
    /// How many resources are as declared.
    pub unchanged: usize,
}

impl Plan {
    /// Whether everything is as declared.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

/// Compares what is declared with what was found.
///
/// Google tells of a service agent only where it is named, so one is there if a policy names it, or if none is going
/// to. A secret is only looked for: it is no step.
pub fn plan(declared: &[Resource], found: &State) -> Plan {
    let mut plan = Plan::default();
    let mut remade: Vec<&Id> = Vec::new();
    for resource in declared.iter().filter(|resource| resource.id.kind != Kind::Secret) {
        let action = match found.get(&resource.id).filter(|_| !renewed(resource, &remade)) {
            Some(found) => compare(resource, found),
            None if resource.id.kind == Kind::ServiceAgent && policy::agent_is_there(resource, declared, found) => {
                Action::Nothing
            }
            None if policy::grants_nothing(resource) => Action::Nothing,
            None => Action::Create,
        };
        match action {
            Action::Nothing => {
                plan.unchanged += 1;
                continue;
            }
            Action::Create | Action::Replace { .. } => remade.push(&resource.id),
            Action::Update(_) | Action::Delete => {}
        }
        plan.steps.push(Step { id: resource.id.clone(), action, needs: Vec::new(), resource: Some(resource.clone()) });
    }
    // What is declared is listed in the order of its needs, so a step needs only steps before it.
    let ids: Vec<Id> = plan.steps.iter().map(|step| step.id.clone()).collect();
    for step in &mut plan.steps {
        let needs = step.resource.iter().flat_map(|resource| &resource.needs);
        step.needs = needs.filter(|need| ids.contains(need)).cloned().collect();
    }
    plan.steps.extend(revocations(declared, found, &ids));
    let ids: Vec<Id> = plan.steps.iter().map(|step| step.id.clone()).collect();
    let orphans: Vec<&Id> =
        found.ids().filter(|id| found.is_ours(id) && !declared.iter().any(|resource| resource.id == **id)).collect();
    plan.steps.extend(deletions(orphans, &ids));
    plan
}

/// The policies of the secrets that found services of this deployment read and that no service declares any more.
pub(crate) fn dropped_secrets(declared: &[Resource], found: &State) -> BTreeSet<Id> {
    let services = found.ids().filter(|id| id.kind == Kind::Service && found.is_ours(id));
    let mut dropped = BTreeSet::new();
    for service in services {
        let project = service.name.split('/').nth(1).unwrap_or_default();
        for secret in found.get(service).into_iter().flat_map(secrets_in) {
            let name = match secret.starts_with("projects/") {
                true => secret.to_owned(),
                false => format!("projects/{project}/secrets/{secret}"),
            };
            dropped.insert(Id::new(Kind::Policy(Target::Secret), name));
        }
    }
    dropped.retain(|id| !declared.iter().any(|resource| resource.id == *id));
    dropped
}

/// Steps that revoke what this deployment's accounts may do with secrets that left the topology, once no service reads
/// them.
///
/// The only trace of such a grant is the service that was found, which still reads the secret: after the deployment
/// nothing tells of it. `before` are the other steps.
fn revocations(declared: &[Resource], found: &State, before: &[Id]) -> Vec<Step> {
    let accounts = declared.iter().map(|resource| &resource.id).chain(found.ids().filter(|id| found.is_ours(id)));
    let accounts = accounts.filter(|id| id.kind == Kind::ServiceAccount);
    let members = accounts.map(|id| format!("serviceAccount:{}", id.short())).collect();
    let needs: Vec<Id> = before.iter().filter(|id| id.kind == Kind::Service).cloned().collect();
    let step = |id: Id| {
        let resource = Resource::new(id.clone(), revocation(&members));
        let action = compare(&resource, found.get(&id)?);
        let step = Step { id, action, needs: needs.clone(), resource: Some(resource) };
        (step.action != Action::Nothing).then_some(step)
    };
    dropped_secrets(declared, found).into_iter().filter_map(step).collect()
}

/// Steps that delete: what nothing needs first, and all of it after `before`.
pub fn deletions(ids: Vec<&Id>, before: &[Id]) -> Vec<Step> {
    let mut ids = ids;
    ids.sort_by(|a, b| b.kind.cmp(&a.kind).then_with(|| a.name.cmp(&b.name)));
    let step = |id: &&Id| {
        let higher = ids.iter().filter(|other| other.kind > id.kind).map(|other| (*other).clone());
        let needs = before.iter().cloned().chain(higher).collect();
        Step { id: (*id).clone(), action: Action::Delete, needs, resource: None }
    };
    ids.iter().map(step).collect()
}

/// Whether what the resource is part of is made anew, so that what was found of it will be gone.
fn renewed(resource: &Resource, remade: &[&Id]) -> bool {
    let part_of = match resource.id.kind {
        Kind::TriggerSubscription | Kind::Policy(Target::TriggerSubscription) => Kind::Trigger,
        Kind::Policy(target) => target.kind(),
        _ => return false,
    };
    remade.iter().any(|id| id.kind == part_of && id.name == resource.id.name)
}

/// What has to happen to a resource that is there.
pub fn compare(resource: &Resource, found: &Value) -> Action {
    if matches!(resource.id.kind, Kind::Policy(_)) {
        let changes = policy::changes(&resource.body, found);
        return if changes.is_empty() { Action::Nothing } else { Action::Update(changes) };
    }
    let mut changes = match Home::of_resource(&resource.id) {
        Some(home) => diff::changes(&canonical(&resource.body, home), &canonical(found, home)),
        None => diff::changes(&resource.body, found),
    };
    let immutable =
        resource.id.kind.spec().immutable.iter().find(|(field, _)| changes.iter().any(|change| change.top() == *field));
    if let Some((_, why)) = immutable {
        return Action::Replace { why: (*why).to_owned(), changes };
    }
    if resource.id.kind == Kind::Service
        && changes.is_empty()
        && let Some(reason) = diff::failed_revision(found)
    {
        changes.push(Change { path: "template.revision".to_owned(), from: reason.into(), to: "a new one".into() });
    }
    if changes.is_empty() { Action::Nothing } else { Action::Update(changes) }
}
