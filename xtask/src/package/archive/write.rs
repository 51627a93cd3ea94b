//! Writes archives: the same contents give the same bytes, since everything that the formats would take from the
//! machine is fixed here.

use std::io::{Cursor, Write};

use anyhow::Result;
use flate2::{Compression, GzBuilder};
use infra::topology::ArchiveFormat;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, DateTime, System, ZipWriter};

/// The compression level of both formats.
const COMPRESSION_LEVEL: u32 = 6;

/// The operating system in the header of a gzip file that does not tell it: <https://www.rfc-editor.org/rfc/rfc1952>.
const UNKNOWN_SYSTEM: u8 = 255;

/// A file of an archive: its name, contents and mode.
pub(super) type Entry<'e> = (&'e str, &'e [u8], u32);

/// An archive of these files, in the order of their names.
pub(super) fn write(format: ArchiveFormat, entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut entries = entries.to_vec();
    entries.sort_unstable_by_key(|(name, ..)| *name);
    match format {
        ArchiveFormat::TarGz => tar_gz(&entries),
        ArchiveFormat::Zip => zip(&entries),
    }
}

fn tar_gz(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let gzip = GzBuilder::new()
        .mtime(0)
        .operating_system(UNKNOWN_SYSTEM)
        .write(Vec::new(), Compression::new(COMPRESSION_LEVEL));
    let mut tar = tar::Builder::new(gzip);
    for (name, contents, mode) in entries {
        // Names of user and group stay empty.
        let mut header = tar::Header::new_ustar();
        header.set_path(name)?;
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        header.set_mtime(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_cksum();
        tar.append(&header, *contents)?;
    }
    Ok(tar.into_inner()?.finish()?)
}

fn zip(entries: &[Entry<'_>]) -> Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents, mode) in entries {
        let options = SimpleFileOptions::default()
            .system(System::Unix)
            .last_modified_time(DateTime::DEFAULT)
            .compression_method(CompressionMethod::Deflated)
            .compression_level(Some(COMPRESSION_LEVEL.into()))
            .unix_permissions(*mode);
        zip.start_file(*name, options)?;
        zip.write_all(contents)?;
    }
    Ok(zip.finish()?.into_inner())
}
