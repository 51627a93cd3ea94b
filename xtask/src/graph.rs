//! `cargo xtask graph`: the topology as a picture.

use anyhow::Result;
use deploy::graph;

use crate::flags::{Graph, Picture};
use crate::topology;
use crate::write_to::write_to;

pub(crate) fn run(flags: &Graph) -> Result<()> {
    let topology = topology::read(&flags.declaration)?;
    let picture = match flags.format {
        Picture::Svg => graph::svg(&topology),
        Picture::Mermaid => graph::mermaid(&topology),
    };
    write_to(flags.output.as_deref(), &picture)
}
