//! The flags that name a topology.

use std::path::PathBuf;

use clap::Args;

/// Which topology.
#[derive(Debug, Default, Args)]
pub(crate) struct Declaration {
    /// The topology [default: infra/topology.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) topology: Option<PathBuf>,
    /// One of the environments that the topology declares
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
}
