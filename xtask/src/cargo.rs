//! Cargo, started by a verb.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

/// Cargo as a person would start it in this folder: without the variables that cargo sets for the processes it starts,
/// which some build scripts would take for a change, and without those that change what the manifest says is built.
pub(crate) fn cargo(root: &Path) -> Command {
    without_settings(&std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")), root)
}

/// As [`cargo`], for another program that runs cargo.
pub(crate) fn without_settings(program: &OsStr, root: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root);
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        let ours =
            ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_PROFILE_", "CARGO_BUILD_RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) || matches!(&*name, "RUSTFLAGS" | "CARGO_INCREMENTAL") {
            command.env_remove(&*name);
        }
    }
    command
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct CargoMessage {
    reason: String,
    executable: Option<PathBuf>,
}

/// The executable that `cargo build --message-format=json` says it built.
///
/// # Errors
/// It printed none.
pub(crate) fn executable(printed: &[u8]) -> Result<PathBuf> {
    let messages = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut executables = messages
        .filter_map(|line| serde_json::from_slice::<CargoMessage>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| message.executable);
    executables
        .next_back()
        .context("cargo build named no executable: is what it was told to build still in package `function`?")
}
