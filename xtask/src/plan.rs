//! `cargo xtask plan`: what `deploy` would do.

use std::process::ExitCode;

use anyhow::{Context as _, Result};
use deploy::cloud::Settings;
use deploy::plan::{self, Plan, State};
use deploy::resources::{self, Context};
use infra::topology::Topology;

use crate::deployment::{build, caller_notes, compare, connect, declared, read_archive};
use crate::package::Binary;
use crate::{flags, terminal, topology};

/// Exit code of `--detailed-exitcode` when there are changes.
const EXIT_CHANGES: u8 = 2;

/// Stands for the project's id where none is set.
const PROJECT_PLACEHOLDER: &str = "PROJECT";

pub(crate) fn run(flags: &flags::Plan) -> Result<ExitCode> {
    let topology = topology::read(&flags.target.declaration)?;
    let plan = if flags.offline { offline(flags, &topology)? } else { online(flags, &topology)? };
    if flags.json {
        println!("{}", plan.to_json());
    } else {
        print!("{}", plan.text(terminal::colour()));
    }
    Ok(if flags.detailed_exitcode && !plan.is_empty() { ExitCode::from(EXIT_CHANGES) } else { ExitCode::SUCCESS })
}

fn offline(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let settings = Settings::find(flags.target.project.as_deref(), flags.target.region.as_deref());
    let archive = flags.archive.as_deref().map(read_archive).transpose()?.map(|built| built.archive);
    let mut context = Context {
        project: settings.project().unwrap_or(PROJECT_PLACEHOLDER).to_owned(),
        number: "PROJECT_NUMBER".to_owned(),
        region: settings.region().unwrap_or("REGION").to_owned(),
        archive,
    };
    let found = match &flags.snapshot {
        Some(path) => {
            let text = infra::text::read(path).with_context(|| format!("reading {}", path.display()))?;
            let (state, taken) = State::from_snapshot(&text).with_context(|| format!("reading {}", path.display()))?;
            // The snapshot says where it was taken, and what ran there when nothing else is to be deployed.
            context = Context { archive: context.archive.or(taken.archive.clone()), ..taken };
            state
        }
        None => State::new(&topology.name),
    };
    let declared = if context.project == PROJECT_PLACEHOLDER {
        resources::declared(topology, &context)
    } else {
        declared(topology, &context)?
    };
    // Which accounts are the project's own shows only with the project's number, which a snapshot has.
    if flags.snapshot.is_some() {
        caller_notes(&declared, &context).iter().for_each(|note| eprintln!("note: {note}"));
    }
    Ok(plan::plan(&declared, &found))
}

fn online(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let binary = Binary::Compiled { cross: flags.cross.choice(), install: false };
    let built = build(&flags.target, topology, flags.archive.as_deref(), binary)?;
    terminal::block_on(async {
        let mut google = connect(&flags.target).await?;
        google.set_archive(built.archive);
        let compared = compare(google, topology).await?;
        if let Some(path) = &flags.write_snapshot {
            let snapshot = compared.found.to_snapshot(compared.google.context());
            let text = serde_json::to_string_pretty(&snapshot).context("writing the snapshot")?;
            std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))?;
        }
        for missing in &compared.missing {
            eprintln!("note: `deploy` will stop: {missing}");
        }
        compared.notes.iter().for_each(|note| eprintln!("note: {note}"));
        Ok(compared.plan)
    })
}
