//! What the end-to-end tests are made of: the built binary, and stand-ins for Google Cloud, started on free ports,
//! gone with the test process.
//!
//! - [`Function`]: the built binary
//! - [`Bus`]: the local Pub/Sub
//! - [`Emulator`]: Google's Pub/Sub emulator (needs the Cloud SDK's component and Java)
//! - [`Endpoint`]: what a push subscription pushes to
//! - [`Storage`]: fake-gcs-server for Cloud Storage; [`Gate`] in front of it: outages, counts, preconditions on deletes
//! - [`Proxy`]: what stands between the function and one of these, and makes trouble
//! - [`xtask`]: the built `cargo xtask`
//! - [`Google`]: Cloud Run, Eventarc, IAM, Service Usage and Resource Manager with state, in this process, and the
//!   two above behind it; checks every request against Google's API descriptions, records it, and makes it fail on
//!   demand
//! - [`tar_gz`], [`zip()`]: archives to deploy
//! - [`PubSub`]: what a test does with a Pub/Sub: create, publish, pull; speaks REST to any of them
//!
//! Where a part is missing, [`Emulator::shared`], [`Storage::shared`] and [`Google::start`] print why and return
//! `None`, and the test is skipped; with `REQUIRE_STAND_INS=1` that is a failure.

mod archive;
mod bus;
mod discovery;
mod emulator;
mod endpoint;
mod function;
mod gate;
mod google;
mod http;
mod process;
mod proxy;
mod pubsub;
mod storage;
mod tools;
mod xtask;

pub use archive::{program as elf_program, tar_gz, zip};
pub use bus::Bus;
pub use emulator::Emulator;
pub use endpoint::{Endpoint, Push};
pub use function::{Function, command, program, wrapped};
pub use gate::Gate;
pub use google::{Behaviour, Fault, FaultKind, Google, Request};
pub use process::{free_port, unique};
pub use proxy::{Proxy, Trouble};
pub use pubsub::{PubSub, Received};
pub use storage::Storage;
pub use tools::{find_node_modules, find_python, gcloud};
pub use xtask::{Ran, xtask, xtask_command};
