//! Flags of the verbs that deploy: `plan`, `deploy`, `outputs`, `destroy`, `rollback`, `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::cross::Cross;
use super::declaration::Declaration;

/// Which topology, and the project and region that it is deployed to.
#[derive(Debug, Args)]
pub(crate) struct DeployTarget {
    /// Project id [default: GOOGLE_CLOUD_PROJECT, CLOUDSDK_CORE_PROJECT, gcloud's active configuration]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    /// Region [default: CLOUDSDK_RUN_REGION, CLOUDSDK_COMPUTE_REGION, gcloud's active configuration]
    #[arg(long, value_name = "NAME")]
    pub(crate) region: Option<String>,
    #[command(flatten)]
    pub(crate) declaration: Declaration,
}

/// Show what deploy would do
///
/// Fields that the topology leaves out, and values that Google fills in, are never a change. Resources that have the
/// deployment's label and are not declared any more would be deleted.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask plan --offline
  cargo xtask plan --env staging --detailed-exitcode
  cargo xtask plan --write-snapshot found.json && cargo xtask plan --offline --snapshot found.json")]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Compare with nothing, or with --snapshot; needs no account and no network, and builds nothing
    #[arg(long)]
    pub(crate) offline: bool,
    /// Compare with the resources in this snapshot
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Write a snapshot of the resources that were found
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    pub(crate) write_snapshot: Option<PathBuf>,
    /// The archive to deploy instead of building one: a gzipped tar or a zip, told by its content, with `main` at its
    /// root
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cross", "no_cross"])]
    pub(crate) archive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cross: Cross,
    /// Exit with 2 if there are changes
    #[arg(long)]
    pub(crate) detailed_exitcode: bool,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Build, show the plan, ask, and apply it
///
/// After a failure the next deploy continues from what is there. Ctrl-C stops between steps.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask deploy
  cargo xtask deploy --yes --env staging")]
pub(crate) struct Deploy {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// The archive to deploy instead of building one: a gzipped tar or a zip, told by its content, with `main` at its
    /// root
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cross", "no_cross"])]
    pub(crate) archive: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cross: Cross,
    /// Print the outputs as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the names and addresses of what is deployed
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask outputs --json | jq -r .topic_name")]
pub(crate) struct Outputs {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Delete what the topology declares, and nothing else
///
/// Only resources with the deployment's label are deleted. APIs stay enabled. A bucket with objects other than archives
/// is an error before anything is deleted. Messages that wait in subscriptions are lost.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask destroy --env staging --yes")]
pub(crate) struct Destroy {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print what was deleted as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Point services at an earlier archive, without a build
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask rollback --list
  cargo xtask rollback --to 3f9a1c --yes")]
pub(crate) struct Rollback {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Only this service [default: every service of the topology]
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The beginning of the archive's sha256 [default: the archive before the current one]
    #[arg(long, value_name = "SHA256")]
    pub(crate) to: Option<String>,
    /// List the archives to choose from, newest first
    #[arg(long)]
    pub(crate) list: bool,
    /// Do not ask
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Check tools, credentials, project, APIs, permissions and archive
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask doctor")]
pub(crate) struct Doctor {
    #[command(flatten)]
    pub(crate) target: DeployTarget,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}
