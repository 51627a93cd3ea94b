//! The Rust toolchain that compiles.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The target that Cloud Run's base image runs.
pub(super) const TARGET: &str = "x86_64-unknown-linux-gnu";

pub(super) struct Toolchain {
    pub(super) sysroot: PathBuf,
    pub(super) commit: String,
    /// The target that it compiles for unless told otherwise.
    pub(super) host: String,
}

impl Toolchain {
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

    /// Whether the standard library for this target is installed; an empty folder of that name is not enough.
    pub(super) fn has_standard_library(&self, target: &str) -> bool {
        let files = std::fs::read_dir(self.sysroot.join("lib/rustlib").join(target).join("lib"));
        let mut names = files.into_iter().flatten().flatten().map(|file| file.file_name());
        names.any(|name| name.to_string_lossy().starts_with("libstd-"))
    }
}
