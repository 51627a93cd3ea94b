//! The archive: a zip file of the same bytes for the same contents.

use std::fmt;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

use super::elf::{self, Glibc};

/// The largest archive that Cloud Run deploys from source, in bytes.
const MAX_ARCHIVE: u64 = 250 << 20;

/// The largest binary that is read; what compresses better than fourfold is no program.
const MAX_BINARY: u64 = 4 * MAX_ARCHIVE;

/// A packed archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Archive {
    /// `SHA256.zip` in the folder that was asked for.
    pub(crate) path: PathBuf,
    /// In bytes.
    pub(crate) size: u64,
    /// Of the archive, in hexadecimal: its name in the bucket.
    pub(crate) sha256: String,
    /// The newest C library that the binary needs; `None` if it is linked statically.
    pub(crate) glibc: Option<Glibc>,
}

impl fmt::Display for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, size, sha256, glibc } = self;
        let (major, minor) = elf::BASE_IMAGE;
        writeln!(f, "path    {}", path.display())?;
        writeln!(f, "size    {:.1} MiB ({size} bytes)", *size as f64 / f64::from(1 << 20))?;
        writeln!(f, "sha256  {sha256}")?;
        match glibc {
            Some(glibc) => write!(f, "glibc   {glibc}; the base image has {major}.{minor}"),
            None => write!(f, "glibc   none, linked statically"),
        }
    }
}

/// Packs a binary and a topology as `main` and `topology.toml` into a file of the folder `into`, named by its digest.
///
/// # Errors
/// A file that cannot be read or written; a binary that Cloud Run's base image cannot run; an archive that is too large.
pub(crate) fn pack(binary: &Path, topology: &Path, into: &Path) -> Result<Archive> {
    let program = read(binary)?;
    let glibc = elf::check(&program).with_context(|| format!("{} cannot run on Cloud Run", binary.display()))?;
    let bytes = zip(&[("main", &program, 0o755), ("topology.toml", &read(topology)?, 0o644)])?;
    let size = bytes.len() as u64;
    ensure!(
        size <= MAX_ARCHIVE,
        "the archive has {size} bytes, Cloud Run takes {MAX_ARCHIVE}\n  help: keep a large model in a bucket and name it with MODEL=gs://BUCKET/PREFIX/"
    );
    let sha256 = sha256(&bytes);
    let path = into.join(format!("{sha256}.zip"));
    write(&path, &bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(Archive { path, size, sha256, glibc })
}

/// In hexadecimal.
pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let size = std::fs::metadata(path).with_context(|| format!("reading {}", path.display()))?.len();
    ensure!(size <= MAX_BINARY, "{} has {size} bytes, at most {MAX_BINARY} are packed", path.display());
    std::fs::read(path).with_context(|| format!("reading {}", path.display()))
}

/// Name, contents and mode of each entry, in the order of names. Everything that zip takes from the machine is given here.
fn zip(entries: &[(&str, &[u8], u32)]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents, mode) in entries {
        let options = SimpleFileOptions::default()
            .system(System::Unix)
            .last_modified_time(DateTime::DEFAULT)
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(6))
            .unix_permissions(*mode);
        zip.start_file(*name, options)?;
        zip.write_all(contents)?;
    }
    Ok(zip.finish()?.into_inner())
}

/// Writes a file that is whole whenever it is there.
fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::time::{Duration, SystemTime};

    use super::*;

    /// A folder of its own, removed with what it holds.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }

        fn pack(&self, modified: SystemTime) -> Result<Archive> {
            let [binary, topology] = ["binary", "some.toml"].map(|name| self.0.join(name));
            for (path, contents) in [(&binary, elf::tests::program()), (&topology, b"[topics.a-topic]\n".to_vec())] {
                std::fs::write(path, contents).unwrap();
                std::fs::File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
            }
            pack(&binary, &topology, &self.0.join("archive"))
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[test]
    fn the_same_contents_give_the_same_bytes() {
        let (one, other) = (Folder::new("one"), Folder::new("other"));
        let first = one.pack(SystemTime::now()).unwrap();
        let second = other.pack(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000)).unwrap();
        assert_ne!(first.path, second.path);
        let bytes = std::fs::read(&first.path).unwrap();
        assert_eq!(bytes, std::fs::read(&second.path).unwrap());
        assert_eq!((&first.sha256, first.size), (&second.sha256, bytes.len() as u64));
        assert_eq!(first.path.file_stem().unwrap(), &*first.sha256);
        // Packing again leaves nothing else behind.
        one.pack(SystemTime::now()).unwrap();
        assert_eq!(std::fs::read_dir(one.0.join("archive")).unwrap().count(), 1);
    }

    #[test]
    fn the_archive_holds_the_program_and_its_topology() {
        let folder = Folder::new("entries");
        let archive = folder.pack(SystemTime::now()).unwrap();
        let mut zip = zip::ZipArchive::new(std::fs::File::open(archive.path).unwrap()).unwrap();
        let mut entries = Vec::new();
        for index in 0..zip.len() {
            let mut entry = zip.by_index(index).unwrap();
            let mut contents = Vec::new();
            std::io::Read::read_to_end(&mut entry, &mut contents).unwrap();
            assert_eq!(entry.last_modified(), Some(DateTime::DEFAULT));
            entries.push((entry.name().to_owned(), entry.unix_mode(), contents));
        }
        let topology = b"[topics.a-topic]\n".to_vec();
        let expected = [("main", 0o100_755, elf::tests::program()), ("topology.toml", 0o100_644, topology)];
        assert_eq!(entries, expected.map(|(name, mode, contents)| (name.to_owned(), Some(mode), contents)));
    }

    #[test]
    fn what_cannot_run_is_not_packed() {
        let folder = Folder::new("refused");
        folder.pack(SystemTime::now()).unwrap();
        let (text, into) = (folder.0.join("some.toml"), folder.0.join("refused"));
        let error = format!("{:#}", pack(&text, &text, &into).unwrap_err());
        assert!(error.contains("some.toml cannot run on Cloud Run: it is no ELF program"), "{error}");
        assert!(!into.exists());
        let huge = std::fs::File::create(folder.0.join("huge")).unwrap();
        huge.set_len(MAX_BINARY + 1).unwrap();
        let error = pack(&folder.0.join("huge"), &text, &into).unwrap_err().to_string();
        assert!(error.contains("at most 1048576000"), "{error}");
    }
}
