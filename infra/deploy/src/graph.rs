//! The topology as a picture.
//!
//! It shows, from left to right, what a message passes: topics, triggers and push subscriptions with their filters,
//! services with their routes, the destinations of results. A pull subscription stands beneath its topic, since the
//! picture ends there. Dead letters go along dashed lines.
//!
//! ```
//! use deploy::graph;
//! use infra::topology::Topology;
//!
//! let topology = Topology::shipped()?;
//! assert!(graph::svg(&topology).starts_with("<svg "));
//! assert!(graph::mermaid(&topology).starts_with("flowchart LR\n"));
//! # Ok::<(), infra::topology::Errors>(())
//! ```

mod layout;
mod mermaid;
mod model;
mod svg;
#[cfg(test)]
mod tests;
mod text;

use infra::topology::Topology;

use model::Graph;

/// The picture as an SVG document that needs no other file, light or dark as its reader prefers.
pub fn svg(topology: &Topology) -> String {
    svg::draw(&Graph::of(topology))
}

/// The picture as Mermaid text, <https://mermaid.js.org/syntax/flowchart.html>.
pub fn mermaid(topology: &Topology) -> String {
    mermaid::write(&Graph::of(topology))
}
