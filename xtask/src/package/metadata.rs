//! What `cargo metadata` says of the workspace.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::toolchain::{TARGET, Toolchain};
use crate::cargo::cargo;

#[derive(Deserialize)]
pub(super) struct Metadata {
    packages: Vec<Package>,
    pub(super) workspace_root: PathBuf,
    pub(super) target_directory: PathBuf,
}

#[derive(Deserialize)]
struct Package {
    manifest_path: PathBuf,
    /// `None` for a member of the workspace.
    source: Option<String>,
}

impl Metadata {
    /// Runs `cargo metadata`, with or without the packages that the workspace depends on, which cargo may have to
    /// download.
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

    /// Pairs of a folder of this machine and the name that replaces it in the binary. Of several that match a path, the
    /// last one counts: <https://doc.rust-lang.org/rustc/command-line-arguments.html#option-remap-path-prefix>
    pub(super) fn remapped(&self, rust: &Toolchain) -> Vec<(PathBuf, String)> {
        let mut remapped = vec![
            (self.workspace_root.clone(), "/workspace".to_owned()),
            (self.target_directory.clone(), "/workspace/target".to_owned()),
        ];
        let registry = self.packages.iter().filter(|package| package.source.is_some());
        let folders: BTreeSet<_> =
            registry.filter_map(|package| package.manifest_path.parent()?.parent()).map(Path::to_path_buf).collect();
        remapped.extend(folders.into_iter().map(|folder| (folder, "/registry".to_owned())));
        // Installed sources of the standard library: rustc replaces the paths that it was built with by theirs.
        remapped.push((rust.sysroot.join("lib/rustlib/src/rust"), format!("/rustc/{}", rust.commit)));
        remapped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_this_machine_has_a_name_that_is_the_same_everywhere() {
        let metadata = Metadata::read(crate::topology::root(), true).unwrap();
        let rust = Toolchain::ask(&metadata.workspace_root).unwrap();
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
