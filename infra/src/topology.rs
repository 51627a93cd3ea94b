//! The declaration of everything that is deployed, and of how messages are routed: `topology.toml` as types.
//!
//! [`Topology::parse`] reads, [`Errors`] shows what is wrong, and where. The file that the project ships with,
//! `infra/topology.toml`, explains every section and key. A field that the file leaves out is `None`: it keeps the
//! platform's default.
//!
//! An environment changes the declaration: its `prefix` and `suffix` are added to every name, and its sections replace
//! those of the same name, key by key. [`Topology::parse`] checks every environment too.

mod bucket;
mod check_buckets;
mod delivery;
mod environments;
mod error;
#[cfg(test)]
mod fuzzed;
mod lookup;
mod read;
mod runtime;
mod sections;
mod service;
#[cfg(test)]
mod tests;
mod types;
mod validate;
mod values;
mod variants;

pub use bucket::PROJECT;
pub use check_buckets::BucketNameError;
pub use error::{Error, Errors};
pub use lookup::Feed;
pub use types::{
    ARCHIVES, Archive, ArchiveFormat, DEFAULT_NAME, DeadLetter, Delivery, Expiry, Ledger, Push, PushTarget, Retry,
    Route, Service, ServiceAccount, Subscription, Topic, Topology, Trigger,
};
pub use values::{Cpu, Destination, Memory, Secret, TASKS, human};

/// What the function reads where it finds no declaration: the part that it reads of the `infra/topology.toml` that the
/// project ships with, as [`Topology::runtime_declaration`] gives it. That file itself is not compiled in, so that
/// an edit of it recompiles nothing.
pub const DEFAULT: &str = include_str!("topology/default.toml");

impl Topology {
    /// Reads a declaration. `file` is its name in errors.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with line and column: TOML syntax, unknown keys, names and values that
    /// Google refuses, references that lead nowhere, and mistakes that lose messages. Environments are checked as well.
    pub fn parse(text: &str, file: &str) -> Result<Self, Errors> {
        variants::read(text, file, None, &[]).map(|variants| variants.into_topology(None))
    }

    /// Reads a declaration as it is in one of its environments, with the environment's names and values.
    ///
    /// # Errors
    /// As [`Topology::parse`], and when the file declares no such environment.
    pub fn parse_environment(text: &str, file: &str, environment: &str) -> Result<Self, Errors> {
        Self::parse_for(text, file, Some(environment), &[])
    }

    /// Reads a declaration, as it is in `environment` if one is given, for a program that has these tasks: their names
    /// may be used in it whether it declares them or not.
    ///
    /// # Errors
    /// As [`Topology::parse_environment`].
    pub fn parse_for(text: &str, file: &str, environment: Option<&str>, tasks: &[&str]) -> Result<Self, Errors> {
        variants::read(text, file, environment, tasks).map(|variants| variants.into_topology(environment))
    }

    /// The part of a declaration that the function reads, as canonical text that [`Topology::parse`] reads again: for
    /// every service and environment the same [`Service::runtime`]. Whatever else changes in a declaration, this text
    /// stays the same, so that an archive that holds it does, too.
    ///
    /// # Errors
    /// As [`Topology::parse`].
    pub fn runtime_declaration(text: &str, file: &str) -> Result<String, Errors> {
        variants::read(text, file, None, &[]).map(|variants| runtime::render(&variants))
    }

    /// The declaration that the project ships with, `infra/topology.toml` of the workspace that this was built in, as
    /// it is now: for tests and examples. Where there is no workspace, [`DEFAULT`] is compiled in.
    ///
    /// # Errors
    /// The file was edited and has mistakes, or it cannot be read.
    pub fn shipped() -> Result<Self, Errors> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/topology.toml");
        match std::fs::read_to_string(path) {
            Ok(text) => Self::parse(&text, "infra/topology.toml"),
            Err(error) => {
                Err(Errors::one("infra/topology.toml", format!("cannot read {path}"), error.to_string(), None))
            }
        }
    }
}
