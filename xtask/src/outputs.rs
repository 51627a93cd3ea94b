//! `cargo xtask outputs`: names and addresses of what is deployed.

use anyhow::Result;

use crate::deployment::{connect, outputs};
use crate::{flags, terminal, topology};

pub(crate) fn run(flags: &flags::Outputs) -> Result<()> {
    let topology = topology::read(&flags.target.declaration)?;
    terminal::block_on(async {
        let google = connect(&flags.target).await?;
        outputs::print(&outputs::read(&google, &topology).await?, flags.json);
        Ok(())
    })
}
