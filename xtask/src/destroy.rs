//! `cargo xtask destroy`: removes what the topology declares and the deployment's label marks, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Result, bail};
use deploy::cloud::Google;
use deploy::plan::{self, Action, Plan, State, Step, deletions};
use deploy::resources::{self, ARCHIVES, Id, Kind, Resource, Target};
use infra::topology::Topology;
use serde_json::Value;

use crate::deployment::{connect, declared, run_steps};
use crate::{flags, terminal, topology};

/// How many foreign objects the refusal names.
const MAX_NAMED_OBJECTS: usize = 5;

pub(crate) fn run(flags: &flags::Destroy) -> Result<()> {
    let topology = topology::read(&flags.target.declaration)?;
    terminal::block_on(async {
        let google = connect(&flags.target).await?;
        // What is part of another resource is deleted with it, and APIs decide what can be read. The policies of what
        // stays are read: what the deployment's accounts may do there is revoked.
        let mut declared = declared(&topology, google.context())?;
        let part = |kind| matches!(kind, Kind::Archive | Kind::TriggerSubscription | Kind::Policy(_));
        let lasting = |kind| matches!(kind, Kind::Policy(Target::Bucket | Target::Secret | Target::ServiceAccount));
        declared.retain(|resource| !part(resource.id.kind) || lasting(resource.id.kind));
        let found = google.find(&declared, &topology.name).await?;
        let (policies, declared): (Vec<Resource>, Vec<Resource>) =
            declared.into_iter().partition(|resource| part(resource.id.kind));
        let there = declared.iter().map(|resource| &resource.id);
        let there = there.filter(|id| id.kind != Kind::Api && found.get(id).is_some());
        let (ours, foreign): (Vec<&Id>, Vec<&Id>) = there.partition(|id| found.is_ours(id));
        for id in foreign {
            eprintln!("left alone: {id} does not carry the label of deployment `{}`", topology.name);
        }
        let archives = archives(&google, &ours, &topology).await?;
        let mut steps = revocations(&policies, &ours, &found);
        let before: Vec<Id> = steps.iter().map(|step| step.id.clone()).collect();
        steps.extend(deletions(ours.iter().copied().chain(&archives).collect(), &before));
        let plan = Plan { steps, unchanged: 0 };
        if plan.is_empty() {
            eprintln!("Nothing to destroy in project `{}`.", google.context().project);
        } else {
            // There may be two for every message of two weeks.
            let entry = |step: &&Step| step.id.kind == Kind::Archive && !step.id.name.contains(&format!("/{ARCHIVES}"));
            let entries = plan.steps.iter().filter(entry).count();
            for step in plan.steps.iter().filter(|step| !entry(step)) {
                eprintln!("- {}", step.id);
            }
            if entries > 0 {
                eprintln!("- {entries} entries of ledgers");
            }
            let place = format!("project `{}`, region `{}`", google.context().project, google.context().region);
            let lost = plan.steps.iter().filter(|step| step.id.kind == Kind::Subscription).count();
            let question = format!(
                "Delete these {} from {place}, with every message that waits in {lost} subscriptions?",
                plan.steps.len()
            );
            terminal::confirm(&question, flags.yes)?;
            let help = "run `cargo xtask destroy` again: it goes on from what there is";
            run_steps(&google, &plan, &found, help).await?;
        }
        if flags.json {
            let deleted = plan.steps.iter().filter(|step| step.action == Action::Delete);
            let deleted: Vec<&str> = deleted.map(|step| step.id.name.as_str()).collect();
            println!("{}", serde_json::json!({ "deleted": deleted }));
        }
        Ok(())
    })
}

/// Steps that revoke what the deployment's own accounts may do with what stays: secrets, and buckets and accounts that
/// are not the deployment's. Grants of others stay.
fn revocations(policies: &[Resource], ours: &[&Id], found: &State) -> Vec<Step> {
    let accounts = ours.iter().filter(|id| id.kind == Kind::ServiceAccount);
    let members: BTreeSet<String> = accounts.map(|id| format!("serviceAccount:{}", id.short())).collect();
    let mut steps = Vec::new();
    for policy in policies {
        let Kind::Policy(target) = policy.id.kind else { continue };
        if ours.iter().any(|id| id.kind == target.kind() && id.name == policy.id.name) {
            continue;
        }
        let Some(policy_found) = found.get(&policy.id) else { continue };
        let granted = policy.body["grants"].as_object().into_iter().flatten();
        for (role, others) in granted {
            let others = others.as_array().into_iter().flatten().filter_map(Value::as_str);
            for other in others.filter(|member| !members.contains(*member)) {
                eprintln!("left alone: {} keeps {role} for {other}, which is no account of this deployment", policy.id);
            }
        }
        let resource = Resource { body: resources::revocation(&members), ..policy.clone() };
        let action = plan::compare(&resource, policy_found);
        if action != Action::Nothing {
            steps.push(Step { id: policy.id.clone(), action, needs: Vec::new(), resource: Some(resource) });
        }
    }
    steps
}

/// The archives and ledger entries in a bucket that is to be deleted. Any other object in it belongs to someone else,
/// and is an error before anything is deleted.
async fn archives(google: &Google, ours: &[&Id], topology: &Topology) -> Result<Vec<Id>> {
    let Some(bucket) = ours.iter().find(|id| id.kind == Kind::Bucket) else { return Ok(Vec::new()) };
    let prefixes: Vec<&str> = topology.expiries().into_keys().chain([ARCHIVES]).collect();
    let objects = google.storage().objects(&bucket.name).await?.unwrap_or_default();
    let (archives, foreign): (Vec<String>, Vec<String>) =
        objects.into_iter().partition(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    if !foreign.is_empty() {
        let named = foreign.iter().take(MAX_NAMED_OBJECTS).map(String::as_str).collect::<Vec<_>>().join(", ");
        bail!(
            "bucket `{}` holds {} objects that are neither archives nor entries of a ledger: {named}\n  \
                help: nothing was deleted; move or delete them, or remove `archive` from the topology to keep the \
                bucket",
            bucket.name,
            foreign.len()
        );
    }
    Ok(archives.into_iter().map(|object| Id::new(Kind::Archive, format!("{}/{object}", bucket.name))).collect())
}
