//! `cargo xtask destroy`: removes what the topology declares and the deployment's label marks, and nothing else.

use anyhow::{Result, bail};
use deploy::cloud::Google;
use deploy::plan::{self, ARCHIVES, Id, Kind, Plan, State, Step, deletions};
use infra::topology::Topology;

use crate::deploy::run_steps;
use crate::plan::connect;
use crate::{flags, terminal, topology};

/// So many foreign objects are named in the refusal.
const NAMED: usize = 5;

pub(crate) fn run(flags: &flags::Destroy) -> Result<()> {
    let topology = topology::read(&flags.place.declaration)?;
    terminal::block_on(async {
        let google = connect(&flags.place).await?;
        // What is part of something goes with it; which APIs there are decides what can be looked for.
        let mut declared = plan::declared(&topology, google.context());
        let part = |kind| matches!(kind, Kind::Archive | Kind::TriggerSubscription | Kind::Policy(_));
        declared.retain(|resource| !part(resource.id.kind));
        let found = google.find(&declared, &topology.name).await?;
        let there = declared.iter().map(|resource| &resource.id);
        let there = there.filter(|id| id.kind != Kind::Api && found.get(id).is_some());
        let (ours, foreign): (Vec<&Id>, Vec<&Id>) = there.partition(|id| found.is_ours(id));
        for id in foreign {
            eprintln!("left alone: {id} does not carry the label of deployment `{}`", topology.name);
        }
        let archives = archives(&google, &ours, &topology).await?;
        let steps = deletions(ours.iter().copied().chain(&archives).collect(), &[]);
        let plan = Plan { steps, unchanged: 0 };
        if plan.is_empty() {
            eprintln!("Nothing to destroy in project `{}`.", google.context().project);
        } else {
            // There may be two for every message of a fortnight.
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
            run_steps(&google, &plan, &State::new(&topology.name), help).await?;
        }
        if flags.json {
            let deleted: Vec<&str> = plan.steps.iter().map(|step| step.id.name.as_str()).collect();
            println!("{}", serde_json::json!({ "deleted": deleted }));
        }
        Ok(())
    })
}

/// The archives in a bucket that is to go, and the entries of ledgers. Any other object in it is somebody's, and ends all of this before it begins.
async fn archives(google: &Google, ours: &[&Id], topology: &Topology) -> Result<Vec<Id>> {
    let Some(bucket) = ours.iter().find(|id| id.kind == Kind::Bucket) else { return Ok(Vec::new()) };
    let prefixes: Vec<&str> = topology.expiries().into_keys().chain([ARCHIVES]).collect();
    let objects = google.storage().objects(&bucket.name).await?.unwrap_or_default();
    let (archives, foreign): (Vec<String>, Vec<String>) =
        objects.into_iter().partition(|name| prefixes.iter().any(|prefix| name.starts_with(prefix)));
    if !foreign.is_empty() {
        let named = foreign.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
        bail!(
            "bucket `{}` holds {} objects that are neither archives nor entries of a ledger: {named}\n  help: nothing was deleted; move or delete them, or remove `archive` from the topology to keep the bucket",
            bucket.name,
            foreign.len()
        );
    }
    Ok(archives.into_iter().map(|object| Id::new(Kind::Archive, format!("{}/{object}", bucket.name))).collect())
}
