//! Every setting: a flag and an environment variable each.

use std::ffi::OsString;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{CommandFactory, FromArgMatches, Parser};

use crate::ledger::LedgerLocation;
use crate::sink::Destination;
use crate::telemetry::LogFormat;

/// Requests and messages in flight have this long to end after the stop signal. Cloud Run ends the process after 10 s.
pub(crate) const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(9);

/// Runs AI tasks on Pub/Sub messages and CloudEvents posted to it
#[derive(Clone, Debug, Parser)]
#[command(
    name = "main",
    version,
    after_help = "Example:
  main --port 8080 --results response,projects/my-project/topics/ai-workloads-results
  main --pull projects/my-project/subscriptions/ai-workloads-subscription --no-http --results stdout"
)]
pub struct Config {
    /// Port to listen on; 0 picks a free one and prints it
    #[arg(long, env, default_value_t = 8080, value_parser = port)]
    pub port: u16,
    /// Address to listen on [default: 127.0.0.1, or 0.0.0.0 when K_SERVICE is set]
    #[arg(long, env, value_parser = address)]
    pub host: Option<IpAddr>,
    /// The declaration of routes and services [default: topology.toml beside the executable, in the workspace
    /// infra/topology.toml, else the copy compiled in]
    #[arg(long, env, value_name = "FILE")]
    pub topology: Option<PathBuf>,
    /// Which of the topology's environments this is, as `cargo xtask deploy --env` sets it [default: the topology as it
    /// stands]
    #[arg(long, env, value_name = "NAME")]
    pub topology_environment: Option<String>,
    /// Which declared service this process is [default: K_SERVICE, else the first one declared]
    #[arg(long, env, value_name = "NAME")]
    pub service: Option<String>,
    /// Where results go, separated by commas: response, stdout, projects/P/topics/T, gs://BUCKET/PREFIX/ [default:
    /// response; when K_SERVICE is set or with --pull what the service declares, and locally response too unless
    /// --no-http]
    #[arg(long, env, value_delimiter = ',', value_name = "DESTINATIONS")]
    pub results: Option<Vec<Destination>>,
    /// Topic for rejected messages, projects/P/topics/T [default: none; what the service declares when K_SERVICE is set
    /// or with --pull]
    #[arg(long, env, value_name = "TOPIC")]
    pub dead_letter_topic: Option<String>,
    /// Where processes share which messages are done, gs://BUCKET/PREFIX/, or off [default: off; what the service
    /// declares when K_SERVICE is set, or with --pull from Pub/Sub itself, not from an emulator]
    ///
    /// For results that go to a topic or to stdout. Results in a bucket are a record themselves.
    #[arg(long, env, value_name = "LOCATION")]
    pub ledger: Option<LedgerLocation>,
    /// After how many seconds a claim in the ledger whose work was not completed is taken over [default: twice the
    /// service's timeout and at least 60, and for one that declares no timeout 600]
    #[arg(long, env, value_name = "SECONDS", value_parser = seconds)]
    pub ledger_stale_seconds: Option<u64>,
    /// Also take messages from this pull subscription: projects/P/subscriptions/S, or S in GOOGLE_CLOUD_PROJECT
    ///
    /// Results must go somewhere else than `response`, which pulled messages do not have. A service that declares no
    /// other destination prints them to stdout.
    #[arg(long, env = "PULL_SUBSCRIPTION", value_name = "SUBSCRIPTION")]
    pub pull: Option<String>,
    /// Do not listen for HTTP: no requests, health or metrics; only take messages with --pull
    #[arg(long, requires = "pull")]
    pub no_http: bool,
    /// The encoder: embedded, or a directory or gs://BUCKET/PREFIX/ with model.safetensors, tokenizer.json and
    /// config.json
    #[arg(long, env, default_value = "embedded", value_name = "MODEL")]
    pub model: String,
    /// Threads of the forward pass [default: the CPUs that this process may use]
    #[arg(long, env, value_name = "N", value_parser = at_least_one)]
    pub model_threads: Option<usize>,
    /// Most tokens of a batch; a larger message runs alone
    #[arg(long, env, default_value_t = 4096, value_name = "TOKENS", value_parser = at_least_one)]
    pub max_batch_tokens: usize,
    /// Most tokens that wait; beyond it messages are refused with 429
    #[arg(long, env, default_value_t = 65_536, value_name = "TOKENS", value_parser = at_least_one)]
    pub max_queue_tokens: usize,
    /// How long a message waits for others to join its batch, in milliseconds; batches fill under load without waiting
    #[arg(long, env, default_value_t = 0, value_name = "MS", value_parser = wait)]
    pub max_batch_wait_ms: u64,
    /// How long a task may run on a batch before its messages are given up and redelivered, in milliseconds [default:
    /// half of the service's declared timeout, else 60000]
    #[arg(long, env, value_name = "MS", value_parser = at_least_one)]
    pub task_timeout_ms: Option<usize>,
    /// Take events only with an identity token for this audience, which Pub/Sub and Eventarc send along [default: no
    /// token check; rely on Cloud Run IAM, or on a network that only the sender can reach]
    #[arg(long, env, value_name = "AUDIENCE")]
    pub auth_audience: Option<String>,
    /// Accounts whose token is accepted, separated by commas: any account of Google can have a token for any audience
    #[arg(long, env, value_delimiter = ',', value_name = "EMAILS")]
    pub auth_emails: Option<Vec<String>>,
    /// The keys that tokens are signed with: https://, or http:// on this machine
    #[arg(long, env, default_value = GOOGLE_KEYS_URL, value_name = "URL", value_parser = keys_url)]
    pub auth_keys_url: String,
    /// Largest request body in bytes; a Pub/Sub push is at most 13.4 MB and its attributes
    #[arg(long, env, default_value_t = 15 << 20, value_name = "BYTES", value_parser = at_least_one)]
    pub max_body_bytes: usize,
    /// Largest payload fetched for a claim check, in bytes
    #[arg(long, env, default_value_t = crate::payload::MAX_PAYLOAD_BYTES, value_name = "BYTES",
          value_parser = bytes)]
    pub max_payload_bytes: u64,
    /// Buckets that claim checks may name, separated by commas [default: those among the results]
    #[arg(long, env, value_delimiter = ',', value_name = "BUCKETS")]
    pub payload_buckets: Option<Vec<String>>,
    /// Form of the log [default: text on a terminal, json when K_SERVICE is set]
    #[arg(long, env, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// Set by Cloud Run: the name of the service that runs
    #[arg(long, env = "K_SERVICE", hide = true)]
    pub k_service: Option<String>,
}

/// The keys of Google's identity tokens.
pub const GOOGLE_KEYS_URL: &str = "https://www.googleapis.com/oauth2/v3/certs";

fn keys_url(text: &str) -> Result<String, String> {
    crate::auth::check_url(text).map(|()| text.to_owned())
}

/// The value of the variable `HOST` where it is not an address.
fn ignored_host(value: OsString) -> Option<String> {
    let text = value.to_string_lossy();
    address(&text).is_err().then(|| text.into_owned())
}

fn port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| "it takes a whole number from 0 to 65535".to_owned())
}

fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| "it takes an IP address, 127.0.0.1 or :: for example".to_owned())
}

fn wait(text: &str) -> Result<u64, String> {
    let milliseconds = text.parse().ok().filter(|milliseconds| *milliseconds <= 10_000);
    milliseconds.ok_or_else(|| "it takes a whole number from 0 to 10000".to_owned())
}

fn seconds(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (1..=604_800).contains(seconds));
    seconds.ok_or_else(|| "it takes a whole number from 1 to 604800".to_owned())
}

fn bytes(text: &str) -> Result<u64, String> {
    text.parse().map_err(|_| "it takes a whole number of bytes".to_owned())
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it takes 1 or more".to_owned()),
        Ok(n) => Ok(n),
        Err(_) => Err("it takes a whole number, 1 or more".to_owned()),
    }
}

impl Config {
    /// Reads the command line and the environment of this process, and ends it with exit code 2 where a setting is
    /// wrong.
    ///
    /// If the environment's `HOST` is not an address, it is ignored, and returned beside the settings for the log:
    /// other programs use the variable too, and conda sets it to the name of a platform. `--host` has to be an address.
    pub fn read() -> (Self, Option<String>) {
        let ignored = std::env::var_os("HOST").and_then(ignored_host);
        let mut command = Self::command();
        if ignored.is_some() {
            command = command.mut_arg("host", |host| host.env(None::<&str>));
        }
        let read = Self::from_arg_matches_mut(&mut command.get_matches_mut());
        (read.unwrap_or_else(|error| error.format(&mut command).exit()), ignored)
    }

    /// Whether this process runs on Cloud Run.
    pub fn on_cloud_run(&self) -> bool {
        self.k_service.is_some()
    }

    /// Where to listen.
    pub fn address(&self) -> IpAddr {
        self.host.unwrap_or(if self.on_cloud_run() { IpAddr::from([0, 0, 0, 0]) } else { IpAddr::from([127, 0, 0, 1]) })
    }

    /// Form of the log.
    pub fn log_format(&self) -> LogFormat {
        self.log_format.unwrap_or(if self.on_cloud_run() { LogFormat::Json } else { LogFormat::Text })
    }

    /// Threads of the forward pass. The standard library's count honours affinity and cgroup quotas.
    pub fn threads(&self) -> usize {
        self.model_threads.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_setting_names_itself_its_value_and_what_is_right() {
        for (flag, value, right) in [
            ("--port", "70000", "0 to 65535"),
            ("--host", "localhost", "an IP address"),
            ("--results", "ftp://x", "gs://BUCKET/PREFIX/"),
            ("--model-threads", "0", "1 or more"),
            ("--max-batch-tokens", "many", "1 or more"),
            ("--max-queue-tokens", "-1", "1 or more"),
            ("--max-batch-wait-ms", "10001", "0 to 10000"),
            ("--max-body-bytes", "15MiB", "1 or more"),
            ("--max-payload-bytes", "x", "bytes"),
            ("--log-format", "xml", "text, json"),
            ("--ledger", "projects/p/topics/t", "gs://BUCKET/PREFIX/"),
            ("--ledger", "gs://bucket/ledger", "gs://bucket/ledger/"),
            ("--ledger-stale-seconds", "0", "1 to 604800"),
            ("--auth-keys-url", "http://example.com/", "https://"),
        ] {
            let error = Config::try_parse_from(["main", &format!("{flag}={value}")]).unwrap_err();
            let text = error.to_string();
            assert_eq!(error.exit_code(), 2, "{text}");
            assert!(text.contains(flag) && text.contains(value) && text.contains(right), "{text}");
        }
    }

    #[test]
    fn a_host_of_the_environment_that_is_no_address_is_ignored() {
        for (value, ignored) in
            [("x86_64-conda-linux-gnu", true), ("localhost", true), ("", true), ("127.0.0.1", false), ("::", false)]
        {
            assert_eq!(ignored_host(value.into()), ignored.then(|| value.to_owned()));
        }
    }

    #[test]
    fn cloud_run_changes_the_defaults() {
        let local = Config::try_parse_from(["main"]).unwrap();
        assert_eq!((local.address().to_string().as_str(), local.log_format()), ("127.0.0.1", LogFormat::Text));
        let cloud = Config::try_parse_from(["main", "--k-service", "s"]).unwrap();
        assert_eq!((cloud.address().to_string().as_str(), cloud.log_format()), ("0.0.0.0", LogFormat::Json));
        let chosen = Config::try_parse_from(["main", "--k-service", "s", "--host=::1", "--log-format=text"]).unwrap();
        assert_eq!((chosen.address().to_string().as_str(), chosen.log_format()), ("::1", LogFormat::Text));
    }

    #[test]
    fn the_command_line_is_well_formed() {
        use clap::CommandFactory;
        Config::command().debug_assert();
    }
}
