//! What Cloud Run does with an archive: unpacks a gzipped tar and runs `main`.

use std::io::{Cursor, Read};

use flate2::read::GzDecoder;
use zip::ZipArchive;

/// The mode with which its own clients pack what is run.
const MODE: u32 = 0o755;

/// Why a revision cannot be made from this archive; `None` if it can. A zip is none unless `zips` says so.
pub(super) fn fault(bytes: &[u8], zips: bool) -> Option<String> {
    let mode = match zips && bytes.starts_with(b"PK") {
        true => in_zip(bytes),
        false => in_tar_gz(bytes).map_err(|error| format!("it is no gzipped tar: {error}")),
    };
    match mode {
        Err(why) => Some(why),
        Ok(None) => Some("it holds no regular file `main`".to_owned()),
        Ok(Some(MODE)) => None,
        Ok(Some(mode)) => Some(format!("`main` in it has mode {mode:04o}")),
    }
}

/// The mode of the regular file `main`.
fn in_tar_gz(bytes: &[u8]) -> std::io::Result<Option<u32>> {
    let mut tar = tar::Archive::new(GzDecoder::new(bytes));
    let mut found = None;
    for entry in tar.entries()? {
        let entry = entry?;
        if entry.header().entry_type().is_file() && *entry.path_bytes() == *b"main" {
            found = Some(entry.header().mode()? & 0o7777);
        }
    }
    // The checksum is at the end.
    std::io::copy(&mut tar.into_inner(), &mut std::io::sink())?;
    Ok(found)
}

fn in_zip(bytes: &[u8]) -> Result<Option<u32>, String> {
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let Ok(mut main) = zip.by_name("main") else { return Ok(None) };
    std::io::copy(&mut main.by_ref(), &mut std::io::sink()).map_err(|error| error.to_string())?;
    Ok(main.is_file().then(|| main.unix_mode().unwrap_or_default() & 0o7777))
}
