//! Flags of `bench`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// Measure the encoder, a function over HTTP, the path around the model, and the batcher
///
/// Without a subcommand: all of them, on this machine, with the defaults of each. Servers are built in the release
/// profile. The encoder runs in this process, whose profile does not matter: package `encoder` is fully optimised in
/// each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench --peers --svg bench.svg
  cargo xtask bench encoder --threads 1,2 --peers
  cargo xtask bench http
  cargo xtask bench http http://127.0.0.1:8080 --rate 500 --duration 30s --json")]
pub(crate) struct Bench {
    #[command(subcommand)]
    pub(crate) benchmark: Option<Benchmark>,
    /// Measure ONNX Runtime and functions-framework too, alternating with this project; installs them from PyPI, once
    #[arg(long, global = true)]
    pub(crate) peers: bool,
    /// How often everything is measured, alternating; the medians count
    #[arg(long, global = true, default_value_t = 5, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) rounds: u16,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Draw the ratios as a bar chart
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Benchmark {
    Encoder(Encoder),
    Http(Http),
    Path,
    Batcher,
}

/// The forward pass alone: texts and tokens a second, and the share of the processor's int8 peak
///
/// Texts are tokens already, for both sides with --peers. Peers are measured with every batching that may suit them,
/// and the quickest counts.
#[derive(Debug, Default, Args)]
pub(crate) struct Encoder {
    /// Numbers of threads [default: 1 and the CPUs that this process may use]
    #[arg(long, value_delimiter = ',', value_name = "N,…", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) threads: Vec<u16>,
}

/// Load on a running function, or without URL on one that is started here
///
/// Closed loop: --concurrency clients, each of which sends its next request when the last is answered. Open loop, with
/// --rate: requests are sent on time whether or not the function keeps up, and latencies count from the time a request
/// was due, so that a stall does not hide the requests behind it. Percentiles are those of the requests that are done
/// (a batch with 2xx counts as done); responses with 429 have their own.
///
/// Without URL also: time from start to the first response, memory, size of the binary, the rate as a share of the bare
/// encoder on the same texts, and what a million short texts cost on Cloud Run, at the CPU-seconds that the function
/// took and list prices of 2025. The load comes from this machine and takes part of its CPU time.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  cargo xtask bench http
  cargo xtask bench http http://127.0.0.1:8080 --concurrency 64 --form batch
  cargo xtask bench http https://NAME-NUMBER.REGION.run.app --rate 200 \\
    --header \"authorization: Bearer $(gcloud auth print-identity-token)\"")]
pub(crate) struct Http {
    /// Where the function listens, http:// or https://
    pub(crate) url: Option<String>,
    /// Requests a second, evenly spaced: open loop
    #[arg(long, value_name = "N", value_parser = rate)]
    pub(crate) rate: Option<f64>,
    /// Connections, each with one request at a time [default: 64, with --rate 512]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=20_000))]
    pub(crate) concurrency: Option<u16>,
    /// How events are sent
    #[arg(long, value_enum, default_value_t = Form::Wrapped)]
    pub(crate) form: Form,
    /// Events of a request with --form batch
    #[arg(long, default_value_t = 32, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub(crate) events: u16,
    /// Tokens of each text; mixed: lognormal, median 24, sigma 0.9, 4 to 256
    #[arg(long, default_value = "mixed", value_name = "N|mixed", value_parser = length)]
    pub(crate) tokens: Length,
    /// How long
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Header of every request
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub(crate) header: Vec<(String, String)>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            url: None,
            rate: None,
            concurrency: None,
            form: Form::Wrapped,
            events: 32,
            tokens: Length::Mixed,
            duration: Duration::from_secs(10),
            header: Vec::new(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Form {
    /// Pub/Sub push
    Wrapped,
    /// CloudEvents binary mode, as Eventarc sends it
    Binary,
    /// CloudEvents batch
    Batch,
}

/// Tokens of a text, `[CLS]` and `[SEP]` included.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Length {
    Mixed,
    Fixed(usize),
}

fn length(text: &str) -> Result<Length, String> {
    match text.parse() {
        Ok(n) if (3..=256).contains(&n) => Ok(Length::Fixed(n)),
        _ if text == "mixed" => Ok(Length::Mixed),
        _ => Err("expected `mixed` or a whole number from 3 to 256".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.001..=1e6).contains(rate));
    rate.ok_or_else(|| "expected a number from 0.001 to 1000000".to_owned())
}

fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let unit = match unit {
        "ms" => 0.001,
        "s" | "" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => f64::NAN,
    };
    let seconds = number.parse().unwrap_or(f64::NAN) * unit;
    if !(0.1..=86_400.0).contains(&seconds) {
        return Err("expected a time such as 500ms, 10s, 5m or 1h, from 100ms to 24h".to_owned());
    }
    Ok(Duration::from_secs_f64(seconds))
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("expected `name: value`")?;
    Ok((name.trim().to_ascii_lowercase(), value.trim().to_owned()))
}
