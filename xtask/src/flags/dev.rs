//! Flags of `dev`.

use std::path::PathBuf;

use clap::Args;

use super::declaration::Declaration;

/// Run the topology on this machine: a local Pub/Sub, every declared service, and a line for every message
///
/// Pub/Sub's API is served on a port of this machine, for `publish`, `dlq`, every official client and gcloud. The
/// declared topics and subscriptions are created there, and messages are pushed to the services as Eventarc and Pub/Sub
/// push them. A change of the function's sources rebuilds it and replaces the processes, and a change of the topology
/// is applied, without losing a message. Messages are in memory and gone at the end, unless `--data-dir` keeps them.
///
/// Services get this command's own environment (MODEL, RUST_LOG, …), then what the topology declares.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask dev
  cargo xtask dev --only ai-workloads-function --json | jq -c 'select(.type == \"message\")'
  cargo xtask dev --service ai-workloads-function=http://127.0.0.1:8080
  cargo xtask dev --data-dir target/pubsub
  cargo xtask dev --bus 127.0.0.1:8085")]
pub(crate) struct Dev {
    /// The project of all names [default: GOOGLE_CLOUD_PROJECT, CLOUDSDK_CORE_PROJECT, gcloud's active configuration,
    /// else local]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) declaration: Declaration,
    /// Port of the local Pub/Sub; 0 picks a free one
    #[arg(long, value_name = "N", default_value_t = 8085)]
    pub(crate) port: u16,
    /// Use a Pub/Sub that runs already, such as Google's emulator; pushes have neither Eventarc's form nor tokens then
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "port", value_parser = host)]
    pub(crate) bus: Option<String>,
    /// Keep topics, subscriptions and messages in this directory, across restarts and crashes; it is created if it is
    /// missing
    ///
    /// A publish is answered when it is on disk. Messages that are not acknowledged are redelivered at the next start,
    /// and their delivery attempts count on. One process at a time can use a directory. Without this flag nothing is
    /// written.
    #[arg(long, value_name = "DIR", conflicts_with = "bus")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Start this service only, without the subscriptions of the others; may be repeated
    #[arg(long, value_name = "SERVICE")]
    pub(crate) only: Vec<String>,
    /// This service is an external process, for example in a debugger: its messages are pushed to the URL; may be
    /// repeated
    #[arg(long, value_name = "NAME=URL", value_parser = external)]
    pub(crate) service: Vec<(String, String)>,
    /// Run this binary instead of building one; sources are not watched then
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Print one JSON object a line: ready, message, log, service, build, topology, notice
    #[arg(long)]
    pub(crate) json: bool,
}

fn host(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("http://").unwrap_or(text).trim_end_matches('/');
    match text.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.contains('/') && port.parse::<u16>().is_ok() => {
            Ok(text.to_owned())
        }
        _ => Err("expected HOST:PORT, for example 127.0.0.1:8085".to_owned()),
    }
}

fn external(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, url)) if !name.is_empty() && url.starts_with("http://") && url.len() > 7 => {
            Ok((name.to_owned(), url.to_owned()))
        }
        _ => Err("expected NAME=URL, for example my-service=http://127.0.0.1:8080".to_owned()),
    }
}
