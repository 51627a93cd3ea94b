//! Archives for a deployment, made with other code than the one that `cargo xtask build` makes them with.

use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

/// A gzipped tar of these files: name, contents, mode.
pub fn tar_gz(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut tar = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for (name, contents, mode) in files {
        let mut header = tar::Header::new_gnu();
        // As it is, also where it leads outside.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(contents.len() as u64);
        header.set_mode(*mode);
        header.set_cksum();
        tar.append(&header, *contents).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    let gzip = tar.into_inner().and_then(GzEncoder::finish);
    gzip.unwrap_or_else(|error| panic!("no archive: {error}"))
}

/// A zip file of these files.
pub fn zip(files: &[(&str, &[u8], u32)]) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, contents, mode) in files {
        let started = zip.start_file(*name, SimpleFileOptions::default().unix_permissions(*mode));
        started.unwrap_or_else(|error| panic!("{name}: {error}"));
        zip.write_all(contents).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
    zip.finish().unwrap_or_else(|error| panic!("no archive: {error}")).into_inner()
}

/// The smallest static x86-64 program for Linux that loads, with `data` after it.
pub fn program(data: &str) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\x00".to_vec();
    bytes.resize(16, 0);
    bytes.extend([2_u16, 62].map(u16::to_le_bytes).as_flattened()); // ET_EXEC, EM_X86_64
    bytes.extend(1_u32.to_le_bytes());
    bytes.extend([0x40_0078_u64, 64, 0].map(u64::to_le_bytes).as_flattened()); // entry, program headers, sections
    bytes.extend(0_u32.to_le_bytes());
    bytes.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).as_flattened());
    bytes.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened()); // PT_LOAD, read and execute
    bytes.extend([0_u64, 0x40_0000, 0x40_0000, 121, 121, 0x1000].map(u64::to_le_bytes).as_flattened());
    bytes.push(0xf4);
    bytes.extend(data.as_bytes());
    bytes
}
