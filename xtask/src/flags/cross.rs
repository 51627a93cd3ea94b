//! With what the deployed binary is compiled: flags of every verb that builds it.

use clap::Args;

use crate::build::Choice;

#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct Cross {
    /// Compile with cargo-zigbuild and zig [default: where this machine is not linux/amd64 or its glibc is too new]
    #[arg(long, conflicts_with = "no_cross")]
    pub(crate) cross: bool,
    /// Compile with cargo alone, and the C compiler that it is set up with
    #[arg(long)]
    pub(crate) no_cross: bool,
}

impl Cross {
    pub(crate) fn choice(self) -> Choice {
        match self {
            Self { cross: true, .. } => Choice::Cross,
            Self { no_cross: true, .. } => Choice::Native,
            Self { .. } => Choice::Auto,
        }
    }
}
