//! The flags that name a declaration.

use std::path::PathBuf;

use clap::Args;

/// Which declaration.
#[derive(Debug, Default, Args)]
pub(crate) struct Declaration {
    /// The declaration [default: infra/topology.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
    /// One of the environments that it declares
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
}
