//! The built `cargo xtask`, as a user runs it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use crate::process::build;

/// What a run of it left.
#[derive(Debug)]
pub struct Ran {
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Variables that change what it does; those of the caller are not passed on.
const SETTINGS: [&str; 6] = ["GOOGLE_", "CLOUDSDK_", "PUBSUB_", "STORAGE_", "RUST_LOG", "NO_COLOR"];

/// Runs a verb to its end, without a terminal to ask at and without the caller's own settings.
pub fn xtask(arguments: &[&str], variables: &[(&str, String)]) -> Ran {
    let output = xtask_command(arguments, variables).stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("xtask does not start: {error}"));
    Ran {
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// The same, not yet started.
pub fn xtask_command(arguments: &[&str], variables: &[(&str, String)]) -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(|| build("xtask")));
    for (name, _) in std::env::vars() {
        if SETTINGS.iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    // gcloud's own configuration is the caller's too.
    command.env("CLOUDSDK_CONFIG", "/nonexistent");
    command.args(arguments).envs(variables.iter().map(|(name, value)| (name, value)));
    command
}

impl Ran {
    /// It ended well; returns itself.
    #[must_use]
    pub fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self
    }

    /// It failed with this exit code, and said this; returns itself.
    #[must_use]
    pub fn failed(self, code: i32, message: &str) -> Self {
        assert_eq!(self.code, Some(code), "{}{}", self.stdout, self.stderr);
        assert!(self.stderr.contains(message), "`{message}` is not in:\n{}", self.stderr);
        self
    }

    /// Its standard output, which is JSON alone.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error} in {}", self.stdout))
    }
}
