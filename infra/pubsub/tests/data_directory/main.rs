//! A local Pub/Sub with a data directory, through its API: what is there after a crash, and after a restart.
//!
//! - `crash`: the process was killed; `restart`: it was shut down; `refused`: directories that cannot be used
//! - `rest_api`, `process`: what the tests share
#![allow(clippy::unwrap_used)]

mod crash;
mod process;
mod refused;
mod rest_api;
mod restart;

use std::path::Path;

#[test]
#[ignore = "the other tests start it"]
fn a_local_pubsub_in_its_own_process() {
    let directory = std::env::var_os(process::DIRECTORY).unwrap();
    let pubsub = process::open(Path::new(&directory)).unwrap();
    println!("listening at {}", pubsub.address());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(pubsub.run(std::future::pending()));
}
