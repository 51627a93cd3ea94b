//! What deploys: `plan`, `deploy`, `outputs`, `destroy`, `rollback`, `doctor`.

use std::path::PathBuf;

use clap::Args;

use super::cross::Cross;
use super::declaration::Declaration;

/// Which declaration, and where it goes.
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
/// Fields that the topology leaves out, and what Google fills in, are never a change. What carries the deployment's label and is
/// not declared any more would be deleted.
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
    /// Compare with what was found when the snapshot was written
    #[arg(long, value_name = "FILE", requires = "offline")]
    pub(crate) snapshot: Option<PathBuf>,
    /// Write what was found
    #[arg(long, value_name = "FILE", conflicts_with = "offline")]
    pub(crate) write_snapshot: Option<PathBuf>,
    /// The archive to deploy instead of building one: a gzipped tar or a zip, told by its content, with `main` at its root
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

/// Build, show the plan, ask, and make everything as it is declared
///
/// What fails leaves a state that the next deploy goes on from. Ctrl-C stops between steps.
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
    /// The archive to deploy instead of building one: a gzipped tar or a zip, told by its content, with `main` at its root
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
/// Only what carries the deployment's label is deleted. APIs stay enabled. A bucket with other objects than archives is refused
/// before anything is deleted. Messages that wait in subscriptions are lost.
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
    /// This service alone [default: every service of the topology]
    #[arg(long, value_name = "NAME")]
    pub(crate) service: Option<String>,
    /// The beginning of the archive's sha256 [default: the one before the present one]
    #[arg(long, value_name = "SHA256")]
    pub(crate) to: Option<String>,
    /// Show the archives that can be gone back to, newest first
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
