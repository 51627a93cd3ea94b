//! Flags of the verbs that handle messages: `publish` and `dlq`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use infra::filter::Filter;

use super::declaration::Declaration;

/// Which project and topology.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The project's id [default: GOOGLE_CLOUD_PROJECT, CLOUDSDK_CORE_PROJECT, else gcloud's active configuration]
    #[arg(long, value_name = "ID")]
    pub(crate) project: Option<String>,
    #[command(flatten)]
    pub(crate) declaration: Declaration,
}

/// Publish one message, or a file of them
///
/// A file holds one JSON object a line: {"data": text or any JSON value, "attributes": {"name": "value"},
/// "orderingKey": "…"}, of which `data` or an attribute is required. A file is checked before anything is published, so
/// a wrong line publishes nothing. Standard input is published as it is read, up to a wrong line.
///
/// A message has at most 10 MB with its attributes. Longer data goes to a bucket as payloads/SHA256, and the message
/// becomes a claim check with the attributes payload-uri, payload-generation and payload-sha256. The bucket is that of
/// the first service's results (gs://…), or else the archive's, which the function reads only if its PAYLOAD_BUCKETS
/// names it.
///
/// PUBSUB_EMULATOR_HOST and STORAGE_EMULATOR_HOST name emulators, such as the Pub/Sub of `cargo xtask dev`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask publish --attribute task=classify --data 'I was charged twice'
  cargo xtask publish --data @payload.json --count 1000 --rate 50
  cargo xtask publish --file work.ndjson --topic ai-workloads-topic
  generate | cargo xtask publish --file - --json")]
#[command(group = clap::ArgGroup::new("what").required(true).args(["data", "file"]))]
pub(crate) struct Publish {
    /// The message's data: a text, @FILE, or - for standard input
    #[arg(long, value_name = "TEXT|@FILE|-")]
    pub(crate) data: Option<String>,
    /// Publish every line of this file, or of standard input (-)
    #[arg(long, value_name = "FILE|-")]
    pub(crate) file: Option<PathBuf>,
    /// The topic, by its short or full name [default: the one that the first service gets its messages from]
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// An attribute of the message, or of every line that has none of this name; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute)]
    pub(crate) attribute: Vec<(String, String)>,
    /// The ordering key of the message, or of every line that has none
    #[arg(long, value_name = "KEY")]
    pub(crate) ordering_key: Option<String>,
    /// How often the message is published
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with = "file", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: u64,
    /// Most messages a second [default: as fast as it goes]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Print the message ids as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// List, show and redrive dead letters
#[derive(Debug, Args)]
pub(crate) struct Dlq {
    #[command(subcommand)]
    pub(crate) verb: DlqVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DlqVerb {
    List(List),
    Show(Show),
    Redrive(Redrive),
}

/// Which dead letters.
#[derive(Debug, Args)]
pub(crate) struct DeadLetters {
    /// The subscription, by its short or full name [default: the declared one that holds the dead letters]
    #[arg(long, value_name = "NAME")]
    pub(crate) subscription: Option<String>,
    /// Stop after this many seconds without another message
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    pub(crate) wait: Duration,
    #[command(flatten)]
    pub(crate) target: Target,
}

/// List dead letters: id, time, source, reason, attempts, detail; none is consumed
///
/// Until the end they are leased, and no other subscriber gets them.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask dlq list --where 'attributes.dead-letter-reason = \"bad-payload\"'")]
pub(crate) struct List {
    /// Only messages that pass this filter, in the language of Pub/Sub's filters
    #[arg(long = "where", value_name = "FILTER", value_parser = Filter::parse)]
    pub(crate) filter: Option<Filter>,
    /// The most dead letters to list
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: u64,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: DeadLetters,
}

/// Show one dead letter: attributes and data; it is not consumed
#[derive(Debug, Args)]
#[command(after_help = "Example:
  cargo xtask dlq show 12345678901234567")]
pub(crate) struct Show {
    /// Its message id, or the id of the message that it was
    pub(crate) id: String,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: DeadLetters,
}

/// Publish dead letters to the topics that they came from, without the attributes of a dead letter
///
/// A dead letter is acknowledged only after its message is published: an interruption may publish a message twice, but
/// loses none. The attribute `redrive-count` counts how often a message was redriven; after --max-redrives times it
/// stays. Dead letters that arrive during the run stay too.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask dlq redrive --where 'attributes.dead-letter-reason = \"unknown-task\"' --dry-run
  cargo xtask dlq redrive --limit 100 --rate 10")]
pub(crate) struct Redrive {
    /// Only messages that pass this filter, in the language of Pub/Sub's filters
    #[arg(long = "where", value_name = "FILTER", value_parser = Filter::parse)]
    pub(crate) filter: Option<Filter>,
    /// Print what would be published, and change nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Most messages a second [default: as fast as it goes]
    #[arg(long, value_name = "PER_SECOND", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// The most dead letters to publish
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) limit: Option<u64>,
    /// How often a message may be redriven
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) max_redrives: u32,
    /// Publish to this topic instead, by its short or full name
    #[arg(long, value_name = "NAME")]
    pub(crate) topic: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) source: DeadLetters,
}

fn attribute(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "expected messages per second, from 0.001 to 1000000".to_owned())
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds, from 0.1 to 600".to_owned())
}
