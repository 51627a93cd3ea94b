//! The requirements of a binary: format, loader, version of the GNU C library.

use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{Endianness, elf};

/// The version of the GNU C library in Cloud Run's base image `osonly24`, which is Ubuntu 24.04.
pub(crate) const BASE_IMAGE_GLIBC: Version = (2, 39);

/// What to do about a binary of the wrong kind.
pub(super) const CROSS_HELP: &str = "\n  help: the archive takes a binary for Linux on x86-64 with the GNU C library. \
    `cargo xtask build --cross` makes one on every machine, with `cargo zigbuild`";

pub(super) type Version = (u32, u32);

/// The newest version of the GNU C library that a binary needs, and the symbols for which it needs that version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Glibc {
    version: Version,
    symbols: Vec<String>,
}

impl Glibc {
    /// The version, `2.34` for example.
    pub(crate) fn version(&self) -> String {
        format!("{}.{}", self.version.0, self.version.1)
    }
}

impl fmt::Display for Glibc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown, more) = self.symbols.split_at(self.symbols.len().min(3));
        write!(f, "{} ({}", self.version(), shown.join(", "))?;
        if !more.is_empty() {
            write!(f, " and {} more", more.len())?;
        }
        f.write_str(")")
    }
}

/// Checks that Cloud Run's base image can run this file. Returns its requirements of the C library: `None` if it is
/// linked statically.
///
/// # Errors
/// It is not a 64-bit x86-64 program for Linux, or needs a newer C library than the base image has.
pub(super) fn check(bytes: &[u8]) -> Result<Option<Glibc>> {
    ensure!(bytes.starts_with(&elf::ELFMAG), "it is {}no ELF program{CROSS_HELP}", kind(bytes));
    ensure!(bytes.get(4) == Some(&elf::ELFCLASS64.0), "it is a 32-bit program{CROSS_HELP}");
    let file = ElfFile64::<Endianness>::parse(bytes).context("it is damaged")?;
    let (header, endian) = (file.elf_header(), file.endian());
    let machine = header.e_machine(endian);
    ensure!(machine == elf::EM_X86_64, "it is for another processor, ELF machine {}{CROSS_HELP}", machine.0);
    let system = header.e_ident().os_abi;
    ensure!(
        [elf::ELFOSABI_NONE, elf::ELFOSABI_LINUX].contains(&system),
        "it is for another operating system, ELF OS ABI {}{CROSS_HELP}",
        system.0
    );
    let executable = [elf::ET_EXEC, elf::ET_DYN].contains(&header.e_type(endian)) && header.e_entry(endian) != 0;
    ensure!(executable, "it is an ELF file that cannot be started, such as a library or an object file");
    for segment in file.elf_program_headers() {
        if let Some(loader) = segment.interpreter(endian, bytes)? {
            let loader = String::from_utf8_lossy(loader);
            ensure!(
                loader == "/lib64/ld-linux-x86-64.so.2",
                "it asks for the loader {loader}, which the base image lacks{CROSS_HELP}"
            );
        }
    }
    let newest = newest(&file)?;
    if let Some(glibc) = &newest
        && glibc.version > BASE_IMAGE_GLIBC
    {
        let (major, minor) = BASE_IMAGE_GLIBC;
        bail!(
            "it needs glibc {glibc}, and the base image has {major}.{minor}\n  \
             help: `cargo xtask build --cross` compiles it for an older one; or build on a system with glibc \
             {major}.{minor} or older (Ubuntu 24.04, Debian 12)"
        );
    }
    Ok(newest)
}

/// The newest required version, from `.gnu.version_r` and `.gnu.version`: Linux Standard Base, "Symbol Versioning".
fn newest(file: &ElfFile64<'_, Endianness>) -> Result<Option<Glibc>> {
    let (endian, sections, data) = (file.endian(), file.elf_section_table(), file.data());
    let dynamic = file.elf_program_headers().iter().any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    ensure!(
        !dynamic || !sections.is_empty(),
        "its section headers were removed, so what it needs cannot be seen; strip less"
    );
    let Some((mut libraries, strings)) = sections.gnu_verneed(endian, data)? else { return Ok(None) };
    let strings = sections.strings(endian, data, strings)?;
    let mut newest: Option<Version> = None;
    while let Some((_, mut versions)) = libraries.next()? {
        while let Some(version) = versions.next()? {
            let name = String::from_utf8_lossy(version.name(endian, strings)?);
            newest = newest.max(parse(&name)?);
        }
    }
    let Some(version) = newest else { return Ok(None) };
    let mut symbols = Vec::new();
    if let Some(table) = sections.versions(endian, data)? {
        for (index, symbol) in file.elf_dynamic_symbol_table().enumerate() {
            let needed = table.version(table.version_index(endian, index).index())?;
            let Some(needed) = needed.filter(|needed| needed.file().is_some()) else { continue };
            if parse(&String::from_utf8_lossy(needed.name()))? == Some(version) {
                let name = file.elf_dynamic_symbol_table().symbol_name(endian, symbol)?;
                symbols.push(String::from_utf8_lossy(name).into_owned());
            }
        }
    }
    symbols.sort();
    Ok(Some(Glibc { version, symbols }))
}

/// `GLIBC_2.34` and the like. Other libraries' versions are `None`.
fn parse(name: &str) -> Result<Option<Version>> {
    let Some(version) = name.strip_prefix("GLIBC_") else { return Ok(None) };
    if version == "ABI_DT_RELR" {
        // Packed relocations, which came with this version.
        return Ok(Some((2, 36)));
    }
    let mut parts = version.split('.').map(str::parse);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok(Some((major, minor))),
        _ => bail!("it needs {name}, and whether the base image has that is unknown"),
    }
}

fn kind(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xcf, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => "a macOS program, ",
        [b'M', b'Z', ..] => "a Windows program, ",
        [b'#', b'!', ..] => "a script, ",
        _ => "",
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The smallest static program that loads: a header, and one segment.
    pub(in super::super) fn program() -> Vec<u8> {
        let mut bytes = b"\x7fELF\x02\x01\x01\x00".to_vec();
        bytes.resize(16, 0);
        bytes.extend(2_u16.to_le_bytes()); // e_type: ET_EXEC
        bytes.extend(62_u16.to_le_bytes()); // e_machine: EM_X86_64
        bytes.extend(1_u32.to_le_bytes());
        bytes.extend(0x40_0078_u64.to_le_bytes()); // e_entry
        bytes.extend(64_u64.to_le_bytes()); // e_phoff
        bytes.extend([0; 8 + 4]);
        bytes.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).as_flattened());
        bytes.extend([1_u32, 5].map(u32::to_le_bytes).as_flattened()); // PT_LOAD, read and execute
        bytes.extend([0_u64, 0x40_0000, 0x40_0000, 121, 121, 0x1000].map(u64::to_le_bytes).as_flattened());
        bytes.push(0xf4);
        bytes
    }

    fn refused(at: usize, value: u8) -> String {
        let mut bytes = program();
        bytes[at] = value;
        check(&bytes).unwrap_err().to_string()
    }

    #[test]
    fn a_static_program_needs_no_c_library() {
        assert_eq!(check(&program()).unwrap(), None);
    }

    #[test]
    fn what_the_base_image_cannot_start_is_refused() {
        for (error, expected) in [
            (refused(4, 1), "32-bit"),
            (refused(7, 9), "another operating system"),
            (refused(16, 1), "cannot be started"),
            (refused(18, 183), "another processor, ELF machine 183"),
            (check(b"\xcf\xfa\xed\xfe\x07").unwrap_err().to_string(), "a macOS program"),
            (check(b"").unwrap_err().to_string(), "no ELF program"),
            (check(&program()[..40]).unwrap_err().to_string(), "damaged"),
        ] {
            assert!(error.contains(expected), "{error}");
        }
        assert!(refused(18, 183).contains("cargo zigbuild"));
    }

    #[cfg(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu"))]
    #[test]
    fn a_newer_c_library_is_refused_with_the_symbol_that_needs_it() {
        let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = check(&bytes).unwrap().unwrap();
        let name = format!("GLIBC_{}\0", found.version());
        assert!(found.version >= (2, 2) && !found.symbols.is_empty(), "{found}");

        let newer = format!("GLIBC_{}\0", "2.999999999".get(..found.version().len()).unwrap());
        let mut changed = bytes;
        let offsets: Vec<_> = changed.windows(name.len()).enumerate().filter(|(_, w)| *w == name.as_bytes()).collect();
        for at in offsets.into_iter().map(|(at, _)| at).collect::<Vec<_>>() {
            changed[at..at + name.len()].copy_from_slice(newer.as_bytes());
        }
        let error = check(&changed).unwrap_err().to_string();
        assert!(error.contains("glibc 2.99 (") && error.contains(&found.symbols[0]), "{error}");
        assert!(error.contains("the base image has 2.39"), "{error}");
    }

    #[test]
    fn versions_are_compared_as_numbers() {
        assert_eq!(parse("GLIBC_2.2.5").unwrap(), Some((2, 2)));
        assert!(parse("GLIBC_2.4").unwrap() < parse("GLIBC_2.34").unwrap());
        assert_eq!(parse("GCC_4.2.0").unwrap(), None);
        assert!(parse("GLIBC_PRIVATE").is_err());
    }
}
