//! No file can be written.

use std::collections::BTreeSet;

use tests::{Bus, Function, command};

use super::poison::limited;
use super::scene::{SceneSettings, Transport};
use crate::mixed;

#[tokio::test]
async fn the_function_needs_no_disk() {
    // A full disk and more: the kernel ends a process that writes a byte to any file.
    let settings = SceneSettings::new(Transport::Push, 100).with("TMPDIR", "/nonexistent");
    let scene = settings.create(Bus::shared()).await;
    let variables = scene.variables();
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let function = Function::spawn(limited("-f 0", command(&variables))).await.unwrap();
    mixed::publish(scene.bus, &scene.topic, 1000, 5).await;
    let counts = scene.finish(function).await;
    let keys: BTreeSet<&String> = counts.results.keys().chain(counts.dead.keys()).collect();
    assert_eq!((counts.results.len(), counts.dead.len(), keys.len()), (900, 100, 1000));
    assert!(counts.results.values().all(|results| results.len() == 1));
    println!("1000 messages, no file can be written: 900 results, 100 dead letters");
}
