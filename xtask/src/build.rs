//! `cargo xtask build`: the archive that is deployed.
//!
//! The same commit gives the same bytes in every folder and on every machine with the same Rust toolchain and linker:
//! [`mod@cargo`] builds the binary under flags of its own, with the compiler that [`cross`] chooses, [`archive`] packs it.

pub(crate) mod archive;
mod cargo;
mod cross;
mod elf;
mod zig;

use std::path::{Path, PathBuf};

use anyhow::Result;
pub(crate) use archive::Archive;
pub(crate) use cargo::{cargo, executable};
pub(crate) use cross::{Choice, Readiness, report};
use deploy::resources;
use infra::topology::ArchiveFormat;

use crate::flags;
use crate::topology::{self, root};

/// Which binary an archive gets.
#[derive(Clone, Copy)]
pub(crate) enum Binary<'a> {
    /// This file.
    Given(&'a Path),
    /// The function, compiled in release mode.
    Compiled {
        /// Whether to compile with zig for linux/amd64.
        cross: Choice,
        /// Install what that needs without asking.
        install: bool,
    },
}

/// Builds the function, or takes this binary, and packs it with what it reads of the topology.
///
/// # Errors
/// A topology with mistakes, a build that fails, a binary that the base image cannot run, an archive that is too large.
pub(crate) fn build(topology: Option<&Path>, format: ArchiveFormat, binary: Binary<'_>) -> Result<Archive> {
    // Before the minutes that a build takes.
    let declaration = topology::runtime_declaration(&topology::path(topology))?;
    let metadata = cargo::Metadata::read(root(), matches!(binary, Binary::Compiled { .. }))?;
    let built;
    let binary = match binary {
        Binary::Given(binary) => binary,
        Binary::Compiled { cross, install } => {
            built = cargo::build(&metadata, cross, install)?;
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
    let binary = match &flags.binary {
        Some(binary) => Binary::Given(binary),
        None => Binary::Compiled { cross: flags.cross.choice(), install: flags.yes },
    };
    let archive = build(flags.topology.as_deref(), format, binary)?;
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
    let archives = files.filter(|path| path.to_str().is_some_and(|path| resources::Archive::named(path).is_some()));
    archives.max_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
