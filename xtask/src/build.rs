//! `cargo xtask build`: the archive that is deployed.
//!
//! The same commit gives the same bytes in every folder and on every machine with the same Rust toolchain and linker:
//! [`mod@cargo`] builds the binary under flags of its own, with the compiler that [`cross`] chooses, [`archive`] packs it.

pub(crate) mod archive;
mod cargo;
mod cross;
mod elf;
mod zig;

use std::path::PathBuf;

use anyhow::Result;
pub(crate) use archive::Archive;
pub(crate) use cargo::{cargo, executable};
pub(crate) use cross::{Choice, Readiness, report};

use crate::flags;
use crate::topology::{self, root};

/// Builds the function, or takes the binary that the flags name, and packs it with the topology.
///
/// # Errors
/// A topology with mistakes, a build that fails, a binary that the base image cannot run, an archive that is too large.
pub(crate) fn build(flags: &flags::Build) -> Result<Archive> {
    // Before the minutes that a build takes.
    topology::read(&flags::Declaration { topology: flags.topology.clone(), env: None })?;
    let metadata = cargo::Metadata::read(root(), flags.binary.is_none())?;
    let built;
    let binary = match &flags.binary {
        Some(binary) => binary,
        None => {
            built = cargo::build(&metadata, flags.cross.choice(), flags.yes)?;
            &built
        }
    };
    archive::pack(binary, &topology::path(flags.topology.as_deref()), &archives(&metadata))
}

/// Where archives are kept.
fn archives(metadata: &cargo::Metadata) -> PathBuf {
    metadata.target_directory.join("archive")
}

/// The verb.
pub(crate) fn run(flags: &flags::Build) -> Result<()> {
    let archive = build(flags)?;
    if flags.json {
        let Archive { path, size, sha256, glibc } = &archive;
        let json = serde_json::json!({"path": path, "size": size, "sha256": sha256, "glibc": glibc.as_ref().map(elf::Glibc::version)});
        println!("{json}");
    } else {
        println!("{archive}");
    }
    Ok(())
}

/// The archive that was built last, if there is one.
pub(crate) fn newest() -> Option<PathBuf> {
    let folder = archives(&cargo::Metadata::read(root(), false).ok()?);
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let zips = files.filter(|path| path.extension().is_some_and(|extension| extension == "zip"));
    zips.max_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
