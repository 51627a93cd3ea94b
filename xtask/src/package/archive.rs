//! Archives: packed from a binary and a topology, and opened to be deployed. [`ArchiveFormat`] says why they are
//! gzipped tars.
//!
//! - `write`: deterministic bytes; `read`: checks of archives that another program may have written

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use infra::topology::ArchiveFormat;

use super::elf::{self, Glibc};
use crate::digest::sha256_hex;
use read::{MAX_ARCHIVE_BYTES, MAX_UNPACKED_BYTES};

/// A packed archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// `SHA256.tar.gz` or `SHA256.zip`, in the folder that was given.
    pub(crate) path: PathBuf,
    /// Bytes.
    pub(crate) size: u64,
    /// Of the archive, in hexadecimal: its name in the bucket.
    pub(crate) sha256: String,
    pub(crate) format: ArchiveFormat,
    /// The newest C library that the binary needs; `None` if it is linked statically.
    pub(crate) glibc: Option<Glibc>,
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, sha256, glibc, .. } = self;
        let (major, minor) = elf::BASE_IMAGE_GLIBC;
        writeln!(f, "path    {}", path.display())?;
        writeln!(f, "size    {:.1} MiB ({size} bytes)", *size as f64 / f64::from(1 << 20))?;
        writeln!(f, "sha256  {sha256}")?;
        match glibc {
            Some(glibc) => write!(f, "glibc   {glibc}; the base image has {major}.{minor}"),
            None => write!(f, "glibc   none, linked statically"),
        }
    }
}

/// Packs a binary and the text of a runtime declaration, as `main` and `topology.toml`, into a file in the folder
/// `into` that is named by its digest.
///
/// # Errors
/// A file that cannot be read or written; a binary that Cloud Run's base image cannot run; an archive that is too
/// large.
pub(crate) fn pack(binary: &Path, declaration: &str, format: ArchiveFormat, into: &Path) -> Result<Archive> {
    let program = read_file(binary, MAX_UNPACKED_BYTES)?;
    let glibc = elf::check(&program).with_context(|| format!("{} cannot run on Cloud Run", binary.display()))?;
    let bytes = write::write(format, &[("main", &program, 0o755), ("topology.toml", declaration.as_bytes(), 0o644)])?;
    let size = bytes.len() as u64;
    check_size(size)?;
    let sha256 = sha256_hex(&bytes);
    let path = into.join(format!("{sha256}.{}", format.extension()));
    write_file(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(Archive { path, size, sha256, format, glibc })
}

/// Opens an archive that can be deployed. Returns its bytes, its format as its content tells, and a warning where Cloud
/// Run may fail to run it.
///
/// # Errors
/// The file cannot be read, is too large, or is not an archive with an executable `main`.
pub(crate) fn open(path: &Path) -> Result<(Vec<u8>, ArchiveFormat, Option<String>)> {
    let wrong = || format!("the archive {} cannot be deployed", path.display());
    let size = std::fs::metadata(path).with_context(|| format!("reading the archive {}", path.display()))?.len();
    check_size(size).with_context(wrong)?;
    let bytes = std::fs::read(path).with_context(|| format!("reading the archive {}", path.display()))?;
    let read::Contents { format, main } = read::read(&bytes).with_context(wrong)?;
    // A script needs its interpreter, which cannot be checked here.
    let warning = if main.starts_with(b"#!") { None } else { elf::check(&main).err() };
    let warning = warning.map(|error| format!("`main` in {} may not run on Cloud Run: {error:#}", path.display()));
    Ok((bytes, format, warning))
}

fn check_size(size: u64) -> Result<()> {
    ensure!(
        size <= MAX_ARCHIVE_BYTES,
        "the archive has {size} bytes, Cloud Run takes {MAX_ARCHIVE_BYTES}\n  help: keep a large model in a bucket and name it with MODEL=gs://BUCKET/PREFIX/"
    );
    Ok(())
}

fn read_file(path: &Path, most: u64) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    ensure!(size <= most, "{} has {size} bytes, at most {most} are packed", path.display());
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Writes a file so that no other process sees a part of it.
fn write_file(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let unfinished = path.with_extension(format!("{}.part", std::process::id()));
    let written = std::fs::write(&unfinished, bytes).and_then(|()| std::fs::rename(&unfinished, path));
    if written.is_err() {
        std::fs::remove_file(&unfinished).ok();
    }
    written
}
