//! Stand-ins for Google Cloud, for the end-to-end tests: started on free ports, gone with the test process.
//!
//! - [`Emulator`]: Google's Pub/Sub emulator (needs the Cloud SDK's component and Java)
//! - [`Storage`]: fake-gcs-server for Cloud Storage
//! - [`PubSub`]: what a test does with a Pub/Sub: create, publish, pull; speaks REST to any of them
//!
//! Where a part is missing, [`Emulator::shared`] and [`Storage::shared`] print why and return `None`, and the test is
//! skipped; with `REQUIRE_STAND_INS=1` that is a failure.

mod emulator;
mod http;
mod process;
mod pubsub;
mod storage;

pub use emulator::Emulator;
pub use process::{free_port, unique};
pub use pubsub::{PubSub, Received};
pub use storage::Storage;
