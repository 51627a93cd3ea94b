//! What the project deploys and how it routes, declared in one file.
//!
//! `topology.toml` names the topics, subscriptions, services and accounts. [`topology`] reads it into types and refuses
//! what would not deploy or would lose messages; the function routes by it, and everything that deploys starts from it:
//!
//! ```
//! use std::collections::BTreeMap;
//! use infra::topology::Topology;
//!
//! let topology = Topology::shipped()?;
//! let service = topology.first_service().expect("one is declared");
//! let attributes = BTreeMap::from([("kind".to_owned(), "ticket".to_owned())]);
//! assert_eq!(service.route(&attributes), Some("classify"));
//! # Ok::<(), infra::topology::Errors>(())
//! ```
//!
//! # Layout
//!
//! - `topology.toml`: the declaration that the project ships with
//! - [`topology`]: its types, and `Topology::parse`
//!   - `read`, `values`: tables and values of TOML, each mistake noted with its place
//!   - `sections`, `service`: the sections of the file
//!   - `variants`, `overlay`: the file and its environments
//!   - `runtime`: the part that the function reads, which is what an archive holds; `default.toml` is that of the
//!     shipped declaration
//!   - `validate`: references, and mistakes that lose messages
//!   - `error`: what is wrong, shown as the compiler shows it
//! - [`filter`]: Pub/Sub's filter language: parse, print, match
//! - [`limits`]: Pub/Sub's bounds of one message
//! - [`causes`]: an error with what caused it
//! - [`nearest`]: which word was meant
//! - [`text`]: byte-order marks and other encodings

mod causes;
pub mod filter;
pub mod limits;
mod nearest;
pub mod text;
pub mod topology;

pub use causes::causes;
pub use nearest::nearest;
