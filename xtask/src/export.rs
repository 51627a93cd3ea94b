//! `cargo xtask export`: the topology as Terraform JSON.

use anyhow::Result;
use deploy::terraform;

use crate::flags::Export;
use crate::topology;
use crate::write_to::write_to;

pub(crate) fn run(flags: &Export) -> Result<()> {
    let topology = topology::read(&flags.declaration)?;
    let json = serde_json::to_string_pretty(&terraform::export(&topology))?;
    write_to(flags.output.as_deref(), &format!("{json}\n"))
}
