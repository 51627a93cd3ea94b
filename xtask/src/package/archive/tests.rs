//! Archives, packed and opened.

use std::io::Read;
use std::time::{Duration, SystemTime};

use super::*;

const DECLARATION: &str = "[topics.a-topic]\n";

/// A folder of its own, removed with what it holds.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("xtask-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// With a binary of this age and mode.
    fn pack(&self, format: ArchiveFormat, modified: SystemTime, mode: u32) -> Result<Archive> {
        let binary = self.0.join("binary");
        std::fs::write(&binary, elf::tests::program()).unwrap();
        std::fs::File::options().write(true).open(&binary).unwrap().set_modified(modified).unwrap();
        #[cfg(unix)]
        std::fs::set_permissions(&binary, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        pack(&binary, DECLARATION, format, &self.0.join("archive"))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

#[test]
fn the_same_contents_give_the_same_bytes() {
    for format in ArchiveFormat::ALL {
        let name = format.extension();
        let (one, other) = (Folder::new(&format!("one-{name}")), Folder::new(&format!("other-{name}")));
        let first = one.pack(format, SystemTime::now(), 0o700).unwrap();
        let second = other.pack(format, SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000), 0o644).unwrap();
        assert_ne!(first.path, second.path);
        let bytes = std::fs::read(&first.path).unwrap();
        assert_eq!(bytes, std::fs::read(&second.path).unwrap());
        assert_eq!((&first.sha256, first.size), (&second.sha256, bytes.len() as u64));
        assert_eq!(first.path.file_name().unwrap().to_str().unwrap(), format!("{}.{name}", first.sha256));
        // Packing again leaves nothing else behind.
        one.pack(format, SystemTime::now(), 0o755).unwrap();
        assert_eq!(std::fs::read_dir(one.0.join("archive")).unwrap().count(), 1);
    }
}

#[test]
fn a_tar_says_nothing_of_the_machine() {
    let bytes = write::write(ArchiveFormat::TarGz, &[("b", b"2", 0o644), ("a", b"1", 0o755)]).unwrap();
    // Deflate, no name nor comment, no time; and no system.
    assert_eq!((&bytes[..8], bytes[9]), (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], 255));
    let mut tar = Vec::new();
    flate2::read::GzDecoder::new(&*bytes).read_to_end(&mut tar).unwrap();
    let mut archive = tar::Archive::new(&*tar);
    let mut names = Vec::new();
    for entry in archive.entries().unwrap() {
        let entry = entry.unwrap();
        let header = entry.header();
        let numbers = [header.mtime(), header.uid(), header.gid()].map(Result::unwrap);
        assert_eq!(numbers, [0; 3]);
        let ustar = header.as_ustar().unwrap();
        assert!(ustar.uname.iter().chain(&ustar.gname).chain(&ustar.prefix).all(|byte| *byte == 0));
        assert!(header.entry_type().is_file());
        names.push((entry.path().unwrap().display().to_string(), header.mode().unwrap()));
    }
    assert_eq!(names, [("a".to_owned(), 0o755), ("b".to_owned(), 0o644)]);
}

#[test]
fn the_archive_holds_the_program_and_its_topology() {
    let folder = Folder::new("entries");
    let expected = [("main", 0o755, elf::tests::program()), ("topology.toml", 0o644, DECLARATION.into())];
    let expected = expected.map(|(name, mode, contents)| (name.to_owned(), mode, contents));

    let zip = folder.pack(ArchiveFormat::Zip, SystemTime::now(), 0o644).unwrap();
    let mut zip = zip::ZipArchive::new(std::fs::File::open(zip.path).unwrap()).unwrap();
    let mut entries = Vec::new();
    for index in 0..zip.len() {
        let mut entry = zip.by_index(index).unwrap();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        assert_eq!(entry.last_modified(), Some(zip::DateTime::DEFAULT));
        assert_eq!(entry.unix_mode().unwrap() & !0o777, 0o100_000);
        entries.push((entry.name().to_owned(), entry.unix_mode().unwrap() & 0o777, contents));
    }
    assert_eq!(entries, expected);

    let tar = folder.pack(ArchiveFormat::TarGz, SystemTime::now(), 0o644).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(std::fs::File::open(tar.path).unwrap()));
    let entries = tar.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut contents = Vec::new();
        entry.read_to_end(&mut contents).unwrap();
        (entry.path().unwrap().display().to_string(), entry.header().mode().unwrap(), contents)
    });
    assert_eq!(entries.collect::<Vec<_>>(), expected);
}

#[test]
fn what_cannot_run_is_not_packed() {
    let folder = Folder::new("refused");
    let (text, into) = (folder.0.join("some.toml"), folder.0.join("refused"));
    std::fs::write(&text, DECLARATION).unwrap();
    let pack = |binary: &Path| pack(binary, DECLARATION, ArchiveFormat::TarGz, &into).unwrap_err();
    let error = format!("{:#}", pack(&text));
    assert!(error.contains("some.toml cannot run on Cloud Run: it is no ELF program"), "{error}");
    assert!(!into.exists());
    let huge = std::fs::File::create(folder.0.join("huge")).unwrap();
    huge.set_len(MAX_UNPACKED_BYTES + 1).unwrap();
    let error = pack(&folder.0.join("huge")).to_string();
    assert!(error.contains("at most 1048576000"), "{error}");
}

#[test]
fn the_largest_archive_has_250_mebibytes() {
    let folder = Folder::new("large");
    let path = folder.0.join("large");
    for (size, refused) in [(262_144_000, false), (262_144_001, true)] {
        assert_eq!(check_size(size).is_err(), refused, "{size}");
    }
    std::fs::File::create(&path).unwrap().set_len(262_144_001).unwrap();
    let error = format!("{:#}", open(&path).unwrap_err());
    assert!(error.contains("has 262144001 bytes, Cloud Run takes 262144000"), "{error}");
    assert!(error.contains("help: keep a large model in a bucket"), "{error}");
}

#[test]
fn what_was_packed_is_opened_whatever_its_name_is() {
    for format in ArchiveFormat::ALL {
        let folder = Folder::new(&format!("open-{}", format.extension()));
        let archive = folder.pack(format, SystemTime::now(), 0o644).unwrap();
        for name in ["named.zip", "named.tar.gz", "named"] {
            let path = folder.0.join(name);
            std::fs::copy(&archive.path, &path).unwrap();
            let (bytes, found, warning) = open(&path).unwrap();
            assert_eq!((sha256_hex(&bytes), found, warning), (archive.sha256.clone(), format, None));
        }
        // Half a copy is none, wherever it ends.
        let bytes = std::fs::read(&archive.path).unwrap();
        for end in 0..bytes.len() {
            assert!(read::read(&bytes[..end]).is_err(), "{} of {} bytes of {format:?}", end, bytes.len());
        }
        // Nor is one that a bit has changed in, but where it says nothing of the contents.
        let changed = bytes.iter().enumerate().filter(|(at, _)| {
            let mut changed = bytes.clone();
            changed[*at] ^= 0x10;
            read::read(&changed).is_err()
        });
        assert!(changed.count() > bytes.len() / 2, "{format:?}");
    }
}

#[test]
fn a_program_for_another_machine_is_warned_of() {
    let folder = Folder::new("warned");
    let path = folder.0.join("named");
    for (main, expected) in [
        (elf::tests::program(), None),
        (b"#!/bin/sh\n".to_vec(), None),
        (b"\xcf\xfa\xed\xfe\x07".to_vec(), Some("may not run on Cloud Run: it is a macOS program")),
    ] {
        std::fs::write(&path, write::write(ArchiveFormat::TarGz, &[("main", &main, 0o755)]).unwrap()).unwrap();
        let warning = open(&path).unwrap().2;
        assert_eq!(warning.is_some(), expected.is_some(), "{warning:?}");
        let said = |text: &str| warning.as_deref().unwrap_or_default().contains(text);
        assert!(expected.is_none_or(said), "{warning:?}");
    }
}
