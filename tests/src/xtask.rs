//! The built `cargo xtask`, as a user runs it.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use crate::process::build;

/// `cargo xtask` with these arguments and variables, and none of the caller's own settings.
pub fn xtask(variables: &[(&str, &str)], arguments: &[&str]) -> Command {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let mut command = Command::new(BINARY.get_or_init(|| build("xtask", "xtask")));
    for name in ["PUBSUB_EMULATOR_HOST", "STORAGE_EMULATOR_HOST", "GOOGLE_CLOUD_PROJECT", "CLOUDSDK_CONFIG"] {
        command.env_remove(name);
    }
    command.envs(variables.iter().copied()).args(arguments);
    command
}
