//! What the end-to-end tests are made of: the built binary, and stand-ins for Google Cloud, started on free ports, gone with the test process.
//!
//! - [`Function`]: the built binary
//! - [`xtask`]: the built `cargo xtask`
//! - [`Emulator`]: Google's Pub/Sub emulator (needs the Cloud SDK's component and Java)
//! - [`Storage`]: fake-gcs-server for Cloud Storage
//! - [`PubSub`]: what a test does with a Pub/Sub: create, publish, pull; speaks REST to any of them
//!
//! Where a part is missing, [`Emulator::shared`] and [`Storage::shared`] print why and return `None`, and the test is
//! skipped; with `REQUIRE_STAND_INS=1` that is a failure.

mod emulator;
mod function;
mod http;
mod process;
mod pubsub;
mod storage;
mod xtask;

pub use emulator::Emulator;
pub use function::{Function, command, wrapped};
pub use process::{free_port, unique};
pub use pubsub::{PubSub, Received};
pub use storage::Storage;
pub use xtask::xtask;
