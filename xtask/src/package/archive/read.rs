//! Reads archives that another program may have written: finds their format by their content, and checks that Cloud Run
//! can run them.

use std::fmt::Write as _;
use std::io::{Cursor, Read};
use std::path::{Component, Path};

use anyhow::{Context, Result, bail, ensure};
use flate2::read::MultiGzDecoder;
use infra::topology::ArchiveFormat;
use zip::ZipArchive;

/// The most bytes that an archive may unpack to. A program does not compress better than fourfold.
pub(super) const MAX_UNPACKED_BYTES: u64 = 4 * MAX_ARCHIVE_BYTES;
/// The largest archive that Cloud Run deploys from source.
pub(super) const MAX_ARCHIVE_BYTES: u64 = 250 << 20;

/// The program that Cloud Run starts, at the root of the archive.
const MAIN: &str = "main";

/// The mode that `main` has in a good archive. The base image runs it as a user that does not own it.
const EXECUTABLE_MODE: u32 = 0o755;

/// An archive that can be deployed.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) format: ArchiveFormat,
    pub(crate) main: Vec<u8>,
}

/// The metadata of one file in an archive.
struct Entry {
    name: String,
    kind: Kind,
    /// `None` for a zip that has no modes.
    mode: Option<u32>,
}

enum Kind {
    File,
    Folder,
    /// A symbolic or hard link, and where it leads.
    Link(String),
    Device,
}

/// Reads an archive to its end, and checks it.
///
/// # Errors
/// It is neither a gzipped tar nor a zip file, or not whole; it has files that would be written outside of their
/// folder; or it has no executable `main` at its root.
pub(crate) fn read(bytes: &[u8]) -> Result<Contents> {
    let mut entries = Entries::default();
    let format = match bytes {
        [0x1f, 0x8b, ..] => {
            tar_gz(bytes, &mut entries).context("it is no whole gzipped tar")?;
            ArchiveFormat::TarGz
        }
        [b'P', b'K', 3 | 5, 4 | 6, ..] => {
            zip(bytes, &mut entries).context("it is no whole zip file")?;
            ArchiveFormat::Zip
        }
        _ => bail!(
            "expected a gzipped tar or a zip file, found {}\n  help: `cargo xtask build` makes an archive",
            found(bytes)
        ),
    };
    Ok(Contents { format, main: entries.main()? })
}

fn tar_gz(bytes: &[u8], entries: &mut Entries) -> Result<()> {
    let unpacked = MultiGzDecoder::new(bytes).take(MAX_UNPACKED_BYTES + 1);
    let mut tar = tar::Archive::new(unpacked);
    for entry in tar.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let target = entry.link_name_bytes().map(|target| String::from_utf8_lossy(&target).into_owned());
        let kind = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous | tar::EntryType::GNUSparse => Kind::File,
            tar::EntryType::Directory => Kind::Folder,
            tar::EntryType::Symlink | tar::EntryType::Link => Kind::Link(target.unwrap_or_default()),
            // Metadata of all files, not a file.
            tar::EntryType::XGlobalHeader => continue,
            _ => Kind::Device,
        };
        let mode = Some(entry.header().mode()?);
        entries.add(Entry { name, kind, mode }, &mut entry)?;
    }
    // Read to the end, where the checksum is.
    let mut rest = tar.into_inner();
    std::io::copy(&mut rest, &mut std::io::sink())?;
    ensure!(rest.limit() > 0, "it unpacks to more than {MAX_UNPACKED_BYTES} bytes");
    Ok(())
}

fn zip(bytes: &[u8], entries: &mut Entries) -> Result<()> {
    let mut zip = ZipArchive::new(Cursor::new(bytes))?;
    for index in 0..zip.len() {
        let mut file = zip.by_index(index)?;
        let (name, mode) = (file.name().to_owned(), file.unix_mode());
        let kind = if file.is_dir() {
            Kind::Folder
        } else if file.is_symlink() {
            let mut target = String::new();
            file.by_ref().take(4096).read_to_string(&mut target)?;
            Kind::Link(target)
        } else {
            Kind::File
        };
        entries.add(Entry { name, kind, mode }, &mut file)?;
    }
    Ok(())
}

/// The files that were read so far.
#[derive(Default)]
struct Entries {
    /// Of files, links and folders.
    names: Vec<String>,
    unpacked: u64,
    main: Option<Vec<u8>>,
}

impl Entries {
    fn add(&mut self, entry: Entry, contents: &mut impl Read) -> Result<()> {
        let Entry { name, kind, mode } = entry;
        let path = Path::new(&name);
        ensure!(!leaves(path), "`{name}` in it would be written outside of its folder");
        match &kind {
            Kind::Device => bail!("`{name}` in it is no file, folder or link"),
            Kind::Link(target) => {
                let from = path.parent().unwrap_or(Path::new(""));
                let away = target.starts_with('/') || leaves(&from.join(target));
                ensure!(!away, "`{name}` in it is a link that leads outside, to `{target}`");
            }
            Kind::File | Kind::Folder => {}
        }
        let name = plain(path);
        let main = name == MAIN;
        if main {
            ensure!(matches!(kind, Kind::File), "`{MAIN}` in it is no regular file");
            ensure!(self.main.is_none(), "it holds `{MAIN}` twice");
            let mode = mode.map(|mode| mode & 0o777);
            if mode.is_none_or(|mode| mode & 0o555 != 0o555) {
                let found = mode.map_or("none".to_owned(), |mode| format!("{mode:04o}"));
                bail!(
                    "`{MAIN}` in it cannot be run: expected the mode {EXECUTABLE_MODE:04o}, found {found}\n  help: chmod 755 {MAIN}, and pack it again"
                );
            }
        }
        // Every file is read, not only `main`: only that shows that the archive is whole.
        let mut bytes = Vec::new();
        let left = MAX_UNPACKED_BYTES.saturating_sub(self.unpacked);
        let mut contents = contents.take(left + 1);
        let read = if main {
            contents.read_to_end(&mut bytes)? as u64
        } else {
            std::io::copy(&mut contents, &mut std::io::sink())?
        };
        ensure!(read <= left, "it unpacks to more than {MAX_UNPACKED_BYTES} bytes");
        self.unpacked += read;
        if main {
            self.main = Some(bytes);
        }
        self.names.push(name);
        Ok(())
    }

    fn main(self) -> Result<Vec<u8>> {
        const MAX_NAMES_SHOWN: usize = 5;
        if let Some(main) = self.main {
            return Ok(main);
        }
        let mut message = format!("expected the program `{MAIN}` at its root, found ");
        match self.names.iter().find(|name| name.ends_with(&format!("/{MAIN}"))) {
            Some(deeper) => write!(message, "`{deeper}`\n  help: pack what is in the folder, not the folder")?,
            None if self.names.is_empty() => message.push_str("nothing"),
            None => {
                let (shown, more) = self.names.split_at(self.names.len().min(MAX_NAMES_SHOWN));
                write!(message, "`{}`", shown.join("`, `"))?;
                if !more.is_empty() {
                    write!(message, " and {} more", more.len())?;
                }
            }
        }
        bail!(message)
    }
}

/// Without `./` and a slash at the end, so that it compares.
fn plain(path: &Path) -> String {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(part) => Some(part.to_string_lossy()),
        _ => None,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// Whether a path leads out of the folder that it begins in, at its end or in between.
fn leaves(path: &Path) -> bool {
    let mut depth = 0_usize;
    for part in path.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return true,
        }
    }
    false
}

/// Describes a file that is not an archive of a supported format.
fn found(bytes: &[u8]) -> String {
    let kinds: [(&[u8], &str); 6] = [
        (b"", "an empty file"),
        (b"\x28\xb5\x2f\xfd", "a file compressed with zstd"),
        (b"\xfd7zXZ", "a file compressed with xz"),
        (b"BZh", "a file compressed with bzip2"),
        (b"7z\xbc\xaf", "a 7z file"),
        (b"\x7fELF", "a program that is not packed"),
    ];
    let kind =
        kinds.iter().find(|(magic, _)| if magic.is_empty() { bytes.is_empty() } else { bytes.starts_with(magic) });
    match kind {
        Some((_, kind)) => (*kind).to_owned(),
        None if bytes.get(257..262) == Some(b"ustar") => "a tar that is not compressed; gzip it".to_owned(),
        None => format!("a file that begins with {:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(8)])),
    }
}
