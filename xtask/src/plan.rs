//! `cargo xtask plan`: what `deploy` would do.

use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use deploy::cloud::{Google, Settings};
use deploy::plan::{self, Plan, State};
use deploy::resources::{self, Archive, Context, Id, Resource};
use infra::topology::{ArchiveFormat, Topology};

use crate::digest::sha256_hex;
use crate::flags::{self, DeployTarget};
use crate::package::{self, Binary};
use crate::{terminal, topology};

/// Exit code of `--detailed-exitcode` when there are changes.
const EXIT_CHANGES: u8 = 2;

/// Stands for the project's id where none is set.
const PROJECT_PLACEHOLDER: &str = "PROJECT";

/// The archive that is deployed: the file, and its digest.
pub(crate) struct Built {
    pub(crate) bytes: bytes::Bytes,
    pub(crate) archive: Archive,
}

/// What is declared, what was found, and the difference.
pub(crate) struct Compared {
    pub(crate) google: Google,
    pub(crate) found: State,
    pub(crate) plan: Plan,
    /// Secrets that someone has to create first.
    pub(crate) missing: Vec<String>,
    /// What a deployment cannot do, and the commands that do it.
    pub(crate) notes: Vec<String>,
}

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
    let archive = flags.archive.as_deref().map(read).transpose()?.map(|built| built.archive);
    let mut context = Context {
        project: settings.project().unwrap_or(PROJECT_PLACEHOLDER).to_owned(),
        number: "PROJECT_NUMBER".to_owned(),
        region: settings.region().unwrap_or("REGION").to_owned(),
        archive,
    };
    let found = match &flags.snapshot {
        Some(path) => {
            let text = infra::text::read(path).with_context(|| format!("reading {}", path.display()))?;
            let (state, place) = State::from_snapshot(&text).with_context(|| format!("reading {}", path.display()))?;
            // The snapshot says where it was taken, and what ran there when nothing else is to be deployed.
            context = Context { archive: context.archive.or(place.archive.clone()), ..place };
            state
        }
        None => State::new(&topology.name),
    };
    let declared = if context.project == PROJECT_PLACEHOLDER {
        resources::declared(topology, &context)
    } else {
        declared(topology, &context)?
    };
    caller_notes(&declared, &context).iter().for_each(|note| eprintln!("note: {note}"));
    Ok(plan::plan(&declared, &found))
}

fn online(flags: &flags::Plan, topology: &Topology) -> Result<Plan> {
    let binary = Binary::Compiled { cross: flags.cross.choice(), install: false };
    let built = built(&flags.target, topology, flags.archive.as_deref(), binary)?;
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

/// The given archive, or a new one with this binary.
pub(crate) fn built(
    target: &DeployTarget,
    topology: &Topology,
    archive: Option<&Path>,
    binary: Binary<'_>,
) -> Result<Built> {
    let built = match archive {
        Some(path) => read(path)?,
        None => {
            let format = topology.archive_format();
            let package::Archive { path, sha256, .. } =
                package::build(target.declaration.topology.as_deref(), format, binary)?;
            let bytes = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            Built { bytes: bytes.into(), archive: Archive { sha256, format } }
        }
    };
    if built.archive.format == ArchiveFormat::Zip {
        eprintln!(
            "warning: the archive is a zip file; Cloud Run documents a gzipped tar, and may refuse to run this one"
        );
    }
    Ok(built)
}

fn read(path: &Path) -> Result<Built> {
    let (bytes, format, warning) = package::archive::open(path)?;
    if let Some(warning) = warning {
        eprintln!("warning: {warning}");
    }
    let sha256 = sha256_hex(&bytes);
    Ok(Built { bytes: bytes.into(), archive: Archive { sha256, format } })
}

/// What is declared, in a project whose id is known.
///
/// # Errors
/// A bucket's name is impossible there.
pub(crate) fn declared(topology: &Topology, context: &Context) -> Result<Vec<Resource>> {
    topology.check_buckets(&context.project)?;
    Ok(resources::declared(topology, context))
}

/// The pushes and triggers whose tokens Pub/Sub may not be able to sign, each with the command that lets it.
pub(crate) fn caller_notes(declared: &[Resource], context: &Context) -> Vec<String> {
    let agent = format!("serviceAccount:{}", context.pubsub_agent());
    let note = |(id, email): (&Id, &str)| {
        let command = resources::token_grant_command(email, &agent);
        format!(
            "{id} uses {email}, an account of another project: whether Pub/Sub may sign tokens as it cannot be seen or granted here\n  help: let an owner of that project run `{command}`"
        )
    };
    resources::unsigned_callers(declared).map(note).collect()
}

/// Reads what there is in the project and compares it with what is declared.
pub(crate) async fn compare(google: Google, topology: &Topology) -> Result<Compared> {
    let declared = declared(topology, google.context())?;
    let found = google.find(&declared, &topology.name).await?;
    let missing = google.missing_secrets(&declared).await?;
    let plan = plan::plan(&declared, &found);
    let notes = caller_notes(&declared, google.context());
    Ok(Compared { google, found, plan, missing, notes })
}

/// Clients for the project and region that the command line, the environment or gcloud names.
pub(crate) async fn connect(target: &DeployTarget) -> Result<Google> {
    let settings = Settings::find(target.project.as_deref(), target.region.as_deref());
    Ok(Google::connect(&settings).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_with_an_account_of_another_project_is_said_with_the_command_that_grants_it() {
        let text = "[topics.work]\n[subscriptions.own]\ntopic = \"work\"\n\
            push = { endpoint = \"https://a.example/\", service-account = \"caller\" }\n[subscriptions.other]\ntopic = \"work\"\n\
            push = { endpoint = \"https://b.example/\", service-account = \"x@other.iam.gserviceaccount.com\" }\n\
            [service-accounts.caller]\n";
        let [project, number, region] = ["my-project", "123", "europe-west1"].map(str::to_owned);
        let context = Context { project, number, region, archive: None };
        let notes = caller_notes(&declared(&Topology::parse(text, "t.toml").unwrap(), &context).unwrap(), &context);
        assert_eq!(notes.len(), 1, "{notes:?}");
        for part in ["subscription other", "x@other.iam", "--member=serviceAccount:service-123@gcp-sa-pubsub"] {
            assert!(notes[0].contains(part), "{notes:?}");
        }
    }
}
