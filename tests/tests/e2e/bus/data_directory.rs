//! `cargo xtask dev --data-dir`, killed and started again.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::Value;
use tests::{PubSub, unique, xtask, xtask_command};

/// Killed when dropped.
struct Dev(Child);

impl Drop for Dev {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn arguments(folder: &Path) -> Vec<String> {
    let path = |name: &str| folder.join(name).display().to_string();
    let (topology, data) = (path("topology.toml"), path("data"));
    ["dev", "--json", "--port", "0", "--topology", &topology, "--data-dir", &data].map(str::to_owned).into()
}

/// Waits until it prints that everything runs.
fn start(folder: &Path) -> (Dev, PubSub) {
    let arguments = arguments(folder);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut command = xtask_command(&arguments, &[]);
    let mut dev = Dev(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
    let out = BufReader::new(dev.0.stdout.take().unwrap());
    let mut lines = out.lines().map(|line| serde_json::from_str::<Value>(&line.unwrap()).unwrap());
    let ready = lines.find(|line| line["type"] == "ready").unwrap();
    let text = |name: &str| ready[name].as_str().unwrap();
    let pubsub = PubSub::at(text("bus")).in_project(text("project"));
    // It ends when its output is not read any more.
    std::thread::spawn(move || lines.for_each(drop));
    (dev, pubsub)
}

#[tokio::test]
async fn a_killed_dev_goes_on_with_its_messages() {
    let folder = std::env::temp_dir().join(format!("{}-{}", unique("data"), std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("topology.toml"), "[topics.work]\n[subscriptions.reader]\ntopic = \"work\"\n").unwrap();
    let (dev, pubsub) = start(&folder);
    let id = pubsub.publish(&pubsub.topic_name("work"), b"kept", &[]).await;
    let other = arguments(&folder);
    let other = xtask(&other.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    assert!(other.code != Some(0) && other.stderr.contains("in use by another process"), "{}", other.stderr);
    drop(dev);
    let (_dev, pubsub) = start(&folder);
    let received = pubsub.pull_one(&pubsub.subscription_name("reader")).await;
    assert_eq!((&*received.data, received.id), (&b"kept"[..], id));
    std::fs::remove_dir_all(&folder).unwrap();
}
