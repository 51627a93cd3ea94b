//! From the declaration to Google Cloud: what to create and change, and the calls that do it.
//!
//! # Layout
//!
//! - [`plan`]: what is declared and what was found, as steps; pure
//! - [`cloud`]: Google's APIs, and project, region, endpoints and credentials as Google's tools find them
//! - [`apply`]: runs the steps of a plan
//! - [`graph`], [`terraform`]: the topology as a picture, and as Terraform JSON

pub mod apply;
pub mod cloud;
pub mod graph;
pub mod plan;
pub mod terraform;
