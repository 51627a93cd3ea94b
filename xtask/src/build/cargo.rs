//! The release build.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

use super::cross::{Choice, Method, prepare};
use super::elf::CROSS;
use super::zig;

/// What Cloud Run's base image runs.
pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";

/// What `cargo metadata` says of the workspace.
#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    workspace_root: PathBuf,
    pub(super) target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    /// `None` for a member of the workspace.
    source: Option<String>,
}

/// One line of `cargo build --message-format=json`.
#[derive(Deserialize)]
struct Message {
    reason: String,
    executable: Option<PathBuf>,
}

impl Metadata {
    /// With or without the packages that the workspace depends on, which cargo may have to download.
    pub(super) fn read(root: &Path, dependencies: bool) -> Result<Self> {
        let mut command = cargo(root);
        command.args(["metadata", "--locked", "--format-version=1", "--filter-platform", TARGET]);
        if !dependencies {
            command.arg("--no-deps");
        }
        let output = command.stderr(Stdio::inherit()).output().context("running cargo metadata")?;
        ensure!(output.status.success(), "cargo metadata failed ({})", output.status);
        serde_json::from_slice(&output.stdout).context("reading what cargo metadata printed")
    }

    /// Pairs of a folder of this machine and the name that stands for it in the binary. Of several that match a path, the
    /// last one counts: <https://doc.rust-lang.org/rustc/command-line-arguments.html#option-remap-path-prefix>
    fn remapped(&self, rust: &Rust) -> Vec<(PathBuf, String)> {
        let mut remapped = vec![
            (self.workspace_root.clone(), "/workspace".to_owned()),
            (self.target_directory.clone(), "/workspace/target".to_owned()),
        ];
        let registry = self.packages.iter().filter(|package| package.source.is_some());
        let folders: BTreeSet<_> =
            registry.filter_map(|package| package.manifest_path.parent()?.parent()).map(Path::to_path_buf).collect();
        remapped.extend(folders.into_iter().map(|folder| (folder, "/registry".to_owned())));
        // Where the sources of the standard library are installed, they stand in for the paths that it was built with.
        remapped.push((rust.sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", rust.commit)));
        remapped
    }
}

/// Builds the function and returns the path of its binary. Tools that are missing are installed after asking, or with `yes`.
///
/// The flags of `RUSTFLAGS` and of cargo's configuration are left out on purpose: the archive of a commit must not depend on
/// who builds it, and `target-cpu=native` would not run elsewhere. A build apart from `cargo build --release` comes of that;
/// cargo keeps both.
pub(super) fn build(metadata: &Metadata, choice: Choice, yes: bool) -> Result<PathBuf> {
    let root = &metadata.workspace_root;
    let rust = Rust::ask(root)?;
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
        let help = if native && rust.host != TARGET { CROSS } else { "" };
        bail!("cargo {} failed ({}){help}", if native { "build" } else { "zigbuild" }, output.status);
    }
    executable(&output.stdout)
}

/// The program that `cargo build --message-format=json` says it built.
pub(crate) fn executable(printed: &[u8]) -> Result<PathBuf> {
    let messages = printed.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let mut executables = messages
        .filter_map(|line| serde_json::from_slice::<Message>(line).ok())
        .filter(|message| message.reason == "compiler-artifact")
        .filter_map(|message| message.executable);
    executables
        .next_back()
        .context("cargo build named no executable: is what it was told to build still in package `function`?")
}

/// The compiler.
pub(super) struct Rust {
    sysroot: PathBuf,
    commit: String,
    /// The target that it compiles for by itself.
    pub(super) host: String,
}

impl Rust {
    pub(super) fn ask(root: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| -> Result<String> {
            let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
            let output = Command::new(&rustc).args(arguments).current_dir(root).output();
            let output = output.with_context(|| format!("running {}", rustc.display()))?;
            ensure!(output.status.success(), "{} {} failed", rustc.display(), arguments.join(" "));
            String::from_utf8(output.stdout).with_context(|| format!("reading what {} printed", rustc.display()))
        };
        let sysroot = ask(&["--print=sysroot"])?;
        let version = ask(&["--version", "--verbose"])?;
        let value = |key| version.lines().find_map(|line| line.strip_prefix(key)).unwrap_or("unknown").to_owned();
        let (commit, host) = (value("commit-hash: "), value("host: "));
        Ok(Self { sysroot: PathBuf::from(sysroot.trim_end()), commit, host })
    }

    /// Whether the standard library for this target is installed; a folder without it is not enough.
    pub(super) fn has_standard_library(&self, target: &str) -> bool {
        let files = std::fs::read_dir(self.sysroot.join("lib/rustlib").join(target).join("lib"));
        let mut names = files.into_iter().flatten().flatten().map(|file| file.file_name());
        names.any(|name| name.to_string_lossy().starts_with("libstd-"))
    }
}

/// Cargo as a person would start it in this folder: without what cargo tells the processes that it starts, which some build
/// scripts would take for a change, and without what would build something other than what the manifest says.
pub(crate) fn cargo(root: &Path) -> Command {
    without_settings(&std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")), root)
}

/// The same for another program that runs cargo.
pub(super) fn without_settings(program: &OsStr, root: &Path) -> Command {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_folder_of_this_machine_has_a_name_that_is_the_same_everywhere() {
        let metadata = Metadata::read(crate::topology::root(), true).unwrap();
        let rust = Rust::ask(&metadata.workspace_root).unwrap();
        assert!(rust.commit.len() == 40 && rust.sysroot.join("lib/rustlib").is_dir());
        assert!(rust.has_standard_library(&rust.host) && !rust.has_standard_library("z80-unknown-none"));
        let remapped = metadata.remapped(&rust);
        for package in &metadata.packages {
            let file = package.manifest_path.with_file_name("src");
            let name = remapped.iter().rev().find_map(|(folder, name)| Some((file.strip_prefix(folder).ok()?, name)));
            let (rest, name) = name.unwrap_or_else(|| panic!("{} keeps its path", file.display()));
            assert_eq!(name, if package.source.is_some() { "/registry" } else { "/workspace" });
            // NAME-VERSION/src of a registry.
            assert!(package.source.is_none() || rest.components().count() == 2, "{}", rest.display());
        }
    }
}
