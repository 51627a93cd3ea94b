//! The release build of the function.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use super::cross::{Method, prepare};
use super::elf::CROSS_HELP;
use super::metadata::Metadata;
use super::toolchain::{TARGET, Toolchain};
use super::zig;
use crate::cargo::{cargo, executable};
use crate::flags::CompilerChoice;

/// Builds the function and returns the path of its binary. Tools that are missing are installed after asking, or with
/// `yes`.
///
/// The flags of `RUSTFLAGS` and of cargo's configuration are left out on purpose: the archive of a commit must not
/// depend on who builds it, and a binary for `target-cpu=native` would not run on other processors. So this is another
/// build than that of `cargo build --release`; cargo keeps both.
pub(super) fn compile(metadata: &Metadata, choice: CompilerChoice, yes: bool) -> Result<PathBuf> {
    let root = &metadata.workspace_root;
    let rust = Toolchain::ask(root)?;
    let decision = prepare(choice, yes, &rust, &metadata.target_directory, root)?;
    let flags: Vec<String> = metadata
        .remapped(&rust)
        .into_iter()
        .map(|(folder, name)| format!("--remap-path-prefix={}={name}", folder.display()))
        .collect();
    let mut command = if let Method::Cross { zigbuild, zig } = &decision.method {
        eprintln!("Compiling {decision}");
        zig::command(zigbuild, zig, root)
    } else {
        let mut command = cargo(root);
        command.args(["build", "--target", TARGET]);
        command
    };
    command
        .args(["--release", "--locked", "--package=function", "--bin=main", "--target-dir"])
        .arg(&metadata.target_directory)
        .arg("--message-format=json-render-diagnostics")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .stderr(Stdio::inherit());
    let output = command.output().with_context(|| format!("running {}", command.get_program().display()))?;
    if !output.status.success() {
        let native = decision.method == Method::Native;
        let help = if native && rust.host != TARGET { CROSS_HELP } else { "" };
        bail!("cargo {} failed ({}){help}", if native { "build" } else { "zigbuild" }, output.status);
    }
    executable(&output.stdout)
}
