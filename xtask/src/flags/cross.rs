//! The compiler of the deployed binary: flags of every verb that builds it.

use clap::Args;

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
    pub(crate) fn choice(self) -> CompilerChoice {
        match self {
            Self { cross: true, .. } => CompilerChoice::Cross,
            Self { no_cross: true, .. } => CompilerChoice::Native,
            Self { .. } => CompilerChoice::Auto,
        }
    }
}

/// Which compiler the flags ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CompilerChoice {
    /// The one that this machine needs.
    Auto,
    Cross,
    Native,
}
