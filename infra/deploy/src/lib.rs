//! From the declaration to Google Cloud: what to create and change, and the calls that do it.
//!
//! ```
//! use deploy::plan::{State, plan};
//! use deploy::resources::{Context, declared};
//! use infra::topology::Topology;
//!
//! let topology = Topology::shipped()?;
//! let [project, number, region] = ["my-project", "123456789", "europe-west1"].map(str::to_owned);
//! let context = Context { project, number, region, archive: None };
//! // Nothing was found: everything is to be created.
//! let plan = plan(&declared(&topology, &context), &State::new(&topology.name));
//! assert!(plan.text(false).contains("+ topic"));
//! # Ok::<(), infra::topology::Errors>(())
//! ```
//!
//! # Layout
//!
//! - [`resources`]: a topology as resources of Google Cloud; one file a kind
//! - [`plan`]: declared and found resources, compared: what to do, as steps; pure
//! - [`cloud`]: Google's APIs, and project, region, endpoints and credentials as Google's tools find them
//! - [`apply`]: runs the steps of a plan
//! - [`graph`]: the topology as a picture
//! - [`terraform`]: the same resources as Terraform JSON

pub mod apply;
pub mod cloud;
pub mod graph;
pub mod plan;
pub mod resources;
pub mod terraform;

/// Everything that can be declared, for tests.
#[cfg(test)]
fn full_topology() -> infra::topology::Topology {
    let text = include_str!("../../src/topology/full.toml");
    infra::topology::Topology::parse(text, "full.toml").unwrap_or_else(|errors| panic!("{errors}"))
}
