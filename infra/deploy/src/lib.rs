//! From the declaration to Google Cloud: what to create and change, and the calls that do it.
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
