//! What the project deploys and how it routes, declared in one file.
//!
//! `topology.toml` names the topics, subscriptions, services and accounts. [`topology`] reads it into types and refuses
//! what would not deploy or would lose messages. The function routes by these types, and every deployment starts from
//! them:
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
//!   - `read`, `values`: tables and values of TOML, each mistake with its position
//!   - `types`: what is declared; `lookup`: what is asked of it
//!   - `sections`, `service`, `delivery`: reading the sections of the file
//!   - `variants`, `environments`: the file and its environments
//!   - `runtime`: the part that the function reads, which is what an archive holds; `default.toml` is that of the
//!     shipped declaration
//!   - `validate`: references, and mistakes that lose messages; `bucket`, `check_buckets`: names of buckets
//!   - `error`: what is wrong, shown as the compiler shows it
//! - [`filter`]: Pub/Sub's filter language: parse, print, match
//! - [`limits`]: Pub/Sub's limits of one message
//! - [`error_chain`]: an error with its sources, in one line
//! - [`nearest`]: which word was probably meant
//! - [`text`]: byte-order marks and other encodings

mod error_chain;
pub mod filter;
pub mod limits;
mod nearest;
pub mod text;
pub mod topology;

pub use error_chain::error_chain;
pub use nearest::nearest;
