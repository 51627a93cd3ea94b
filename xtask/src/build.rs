//! `cargo xtask build`: the archive that is deployed.

use anyhow::Result;
use infra::topology::ArchiveFormat;

use crate::package::{self, Archive, Binary};
use crate::{flags, topology};

pub(crate) fn run(flags: &flags::Build) -> Result<()> {
    let declared = topology::read(&flags::Declaration { topology: flags.topology.clone(), env: None })?;
    let format = flags.format.map_or_else(|| declared.archive_format(), ArchiveFormat::from);
    let binary = match &flags.binary {
        Some(binary) => Binary::Given(binary),
        None => Binary::Compiled { cross: flags.cross.choice(), install: flags.yes },
    };
    let archive = package::build(flags.topology.as_deref(), format, binary)?;
    if flags.json {
        let Archive { path, size, sha256, format, glibc } = &archive;
        let json = serde_json::json!({
            "path": path, "size": size, "sha256": sha256, "format": format.extension(),
            "glibc": glibc.as_ref().map(package::Glibc::version),
        });
        println!("{json}");
    } else {
        println!("{archive}");
    }
    Ok(())
}
