//! The stand-in for Google Cloud, to try `cargo xtask doctor`, `deploy` and `destroy` by hand without an account.
//!
//! ```sh
//! cargo run -p tests --example google_cloud > target/google-cloud.env &
//! . target/google-cloud.env && cargo xtask deploy --yes
//! ```
//!
//! It plays a new project: no API is enabled, and no service agent exists. It runs until it is interrupted, and needs
//! what the end-to-end tests need: the Pub/Sub emulator and fake-gcs-server.

use tests::{Emulator, Google, Storage};

fn main() {
    let (Some(pubsub), Some(storage)) = (Emulator::shared(), Storage::shared()) else { std::process::exit(1) };
    let Some(google) = Google::start(pubsub.host(), storage.host()) else { std::process::exit(1) };
    for (name, value) in google.environment() {
        println!("export {name}={value}");
    }
    loop {
        std::thread::park();
    }
}
