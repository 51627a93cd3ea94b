//! `cargo xtask build`: the archive that is deployed.
//!
//! The same commit gives the same bytes in every folder and on every machine with the same Rust toolchain and C library:
//! [`mod@cargo`] builds the binary under flags of its own, [`archive`] packs it.

pub(crate) mod archive;
mod cargo;
mod elf;

use std::path::{Path, PathBuf};

use anyhow::Result;
pub(crate) use archive::Archive;
pub(crate) use cargo::{cargo, executable};
use deploy::plan;
use infra::topology::ArchiveFormat;

use crate::flags;
use crate::topology::{self, root};

/// Builds the function, or takes this binary, and packs it with what it reads of the topology.
///
/// # Errors
/// A topology with mistakes, a build that fails, a binary that the base image cannot run, an archive that is too large.
pub(crate) fn build(topology: Option<&Path>, format: ArchiveFormat, binary: Option<&Path>) -> Result<Archive> {
    // Before the minutes that a build takes.
    let declaration = topology::runtime_declaration(&topology::path(topology))?;
    let metadata = cargo::Metadata::read(root(), binary.is_none())?;
    let built;
    let binary = match binary {
        Some(binary) => binary,
        None => {
            built = cargo::build(&metadata)?;
            &built
        }
    };
    archive::pack(binary, &declaration, format, &archives(&metadata))
}

/// Where archives are kept.
fn archives(metadata: &cargo::Metadata) -> PathBuf {
    metadata.target_directory.join("archive")
}

/// The verb.
pub(crate) fn run(flags: &flags::Build) -> Result<()> {
    let declared = topology::read(&flags::Declaration { topology: flags.topology.clone(), env: None })?;
    let format = flags.format.map_or_else(|| declared.archive_format(), ArchiveFormat::from);
    let archive = build(flags.topology.as_deref(), format, flags.binary.as_deref())?;
    if flags.json {
        let Archive { path, size, sha256, format, glibc } = &archive;
        let json = serde_json::json!({
            "path": path, "size": size, "sha256": sha256, "format": format.extension(),
            "glibc": glibc.as_ref().map(elf::Glibc::version),
        });
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
    let archives = files.filter(|path| path.to_str().is_some_and(|path| plan::Archive::named(path).is_some()));
    archives.max_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
