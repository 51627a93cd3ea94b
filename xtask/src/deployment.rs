//! What the verbs share that work on a deployment: its archive, the project, what is declared and found there.
//!
//! - `steps`: the steps of a plan, run with a line for each
//! - `outputs`: names and addresses of what is deployed

pub(crate) mod outputs;
mod steps;

use std::path::Path;

use anyhow::{Context as _, Result};
use deploy::cloud::{Google, Settings};
use deploy::plan::{self, Plan, State};
use deploy::resources::{self, Archive, Context, Id, Resource};
use infra::topology::{ArchiveFormat, Topology};

use crate::digest::sha256_hex;
use crate::flags::DeployTarget;
use crate::package::{self, Binary};
pub(crate) use steps::run_steps;

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

/// The given archive, or a new one with this binary.
pub(crate) fn build(
    target: &DeployTarget,
    topology: &Topology,
    archive: Option<&Path>,
    binary: Binary<'_>,
) -> Result<Built> {
    let built = match archive {
        Some(path) => read_archive(path)?,
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

/// An archive that was built before.
pub(crate) fn read_archive(path: &Path) -> Result<Built> {
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
            "{id} uses {email}, an account of another project: whether Pub/Sub may sign tokens as it cannot be seen \
                or granted here\n  help: let an owner of that project run `{command}`"
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
