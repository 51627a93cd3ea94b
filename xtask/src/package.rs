//! The function, compiled and packed: what `build`, `plan` and `deploy` share, and what `doctor` reports about it.
//!
//! The same commit gives the same bytes in every folder and on every machine with the same Rust toolchain and linker:
//! `compile` builds the binary under flags of its own, with the compiler that `cross` chooses; [`archive`] packs it.
//!
//! - `metadata`, `toolchain`: what cargo and rustc say of the workspace and of themselves
//! - `cross`, `zig`: whether to compile with zig, and with which one; `elf`: what a binary needs of the base image

pub(crate) mod archive;
mod compile;
mod cross;
mod elf;
mod metadata;
mod toolchain;
mod zig;

use std::path::{Path, PathBuf};

use anyhow::Result;
use deploy::resources;
use infra::topology::ArchiveFormat;

pub(crate) use archive::Archive;
pub(crate) use cross::{Readiness, report};
pub(crate) use elf::Glibc;
use metadata::Metadata;

use crate::flags::CompilerChoice;
use crate::topology::{self, root};

/// Which binary an archive gets.
#[derive(Clone, Copy)]
pub(crate) enum Binary<'a> {
    /// This file.
    Given(&'a Path),
    /// The function, compiled in release mode.
    Compiled {
        /// Whether to compile with zig for linux/amd64.
        cross: CompilerChoice,
        /// Install what that needs without asking.
        install: bool,
    },
}

/// Compiles the function, or takes the given binary, and packs it with the part of the topology that it reads.
///
/// # Errors
/// A topology with mistakes, a build that fails, a binary that the base image cannot run, an archive that is too large.
pub(crate) fn build(topology: Option<&Path>, format: ArchiveFormat, binary: Binary<'_>) -> Result<Archive> {
    // First, since mistakes should show before the minutes that a build takes.
    let declaration = topology::runtime_declaration(&topology::path(topology))?;
    let metadata = Metadata::read(root(), matches!(binary, Binary::Compiled { .. }))?;
    let compiled;
    let binary = match binary {
        Binary::Given(binary) => binary,
        Binary::Compiled { cross, install } => {
            compiled = compile::compile(&metadata, cross, install)?;
            &compiled
        }
    };
    archive::pack(binary, &declaration, format, &archive_folder(&metadata))
}

fn archive_folder(metadata: &Metadata) -> PathBuf {
    metadata.target_directory.join("archive")
}

/// The archive that was built last, if there is one.
pub(crate) fn newest() -> Option<PathBuf> {
    let folder = archive_folder(&Metadata::read(root(), false).ok()?);
    let files = std::fs::read_dir(folder).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
    let archives = files.filter(|path| path.to_str().is_some_and(|path| resources::Archive::named(path).is_some()));
    archives.max_by_key(|path| std::fs::metadata(path).and_then(|data| data.modified()).ok())
}
