//! The official clients of Python and Node. Each is a script that runs all scenarios, with tracing on or off, and says
//! which passed; a scenario has the same name in both.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tests::{Bus, Emulator, PubSub, find_node_modules, find_python, unique};

const PYTHON: &str = concat!(
    include_str!("python/client.py"),
    include_str!("python/resources.py"),
    include_str!("python/messages.py"),
    include_str!("python/run.py"),
);
const NODE: &str = concat!(
    include_str!("node/client.js"),
    include_str!("node/resources.js"),
    include_str!("node/messages.js"),
    include_str!("node/run.js"),
);

/// The scenarios that the service passes and the emulator does not.
const DIFFERENCES_OF_THE_EMULATOR: [&str; 10] = [
    "detached_subscriptions",
    "error_texts",
    "filters",
    "labels_of_snapshots",
    "ordered_refusals",
    "page_tokens",
    "policies",
    "reserved_attributes",
    "stale_acknowledgements",
    "updates_of_labels",
];
/// The emulator accepts no path into a field in an update mask.
const MASKS: &str = "updates_within_a_field";
/// The emulator answers no keep-alive before 0.8.32, and the Node client replaces a stream on which none is answered.
/// The Python client sends keep-alives too, and expects no answer.
const KEEP_ALIVES: &str = "idle";

#[test]
fn python_drives_the_local_pubsub() {
    if let Some(client) = python() {
        client.passes_all_but(Bus::shared(), []);
    }
}

#[test]
fn node_drives_the_local_pubsub() {
    if let Some(client) = node() {
        client.passes_all_but(Bus::shared(), []);
    }
}

#[test]
fn python_drives_the_emulator() {
    if let (Some(client), Some(emulator)) = (python(), Emulator::shared()) {
        client.passes_all_but(emulator, DIFFERENCES_OF_THE_EMULATOR.into_iter().chain([MASKS]));
    }
}

#[test]
fn node_drives_the_emulator() {
    if let (Some(client), Some(emulator)) = (node(), Emulator::shared()) {
        client.passes_all_but(emulator, DIFFERENCES_OF_THE_EMULATOR.into_iter().chain([MASKS, KEEP_ALIVES]));
    }
}

/// Makes the command that runs a client's script.
struct Client(Box<dyn Fn() -> Command>);

fn python() -> Option<Client> {
    let python = find_python("google.cloud.pubsub_v1", "google-cloud-pubsub")?;
    Some(Client(Box::new(move || {
        let mut command = Command::new(&python);
        command.args(["-c", PYTHON]);
        command
    })))
}

fn node() -> Option<Client> {
    find_node_modules("@opentelemetry/sdk-trace-base")?;
    let modules = find_node_modules("@google-cloud/pubsub")?;
    Some(Client(Box::new(move || {
        let mut command = Command::new("node");
        command.args(["-e", NODE]).env("NODE_PATH", &modules);
        command
    })))
}

impl Client {
    /// The client passes all scenarios but these, which it fails, with tracing off and on.
    fn passes_all_but(&self, pubsub: &PubSub, differences: impl IntoIterator<Item = &'static str>) {
        let run = |tracing: &str| {
            let mut command = (self.0)();
            command
                .env("PUBSUB_EMULATOR_HOST", pubsub.host())
                // Names of a project of its own, since it lists them.
                .env("GOOGLE_CLOUD_PROJECT", format!("{}-{}", unique("scenarios"), std::process::id()))
                .env("TRACING", tracing)
                // The clients look for no metadata server of Google Cloud.
                .env("NO_GCE_CHECK", "true")
                .env("METADATA_SERVER_DETECTION", "none")
                .stdout(Stdio::piped());
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
        };
        let differences: BTreeSet<String> = differences.into_iter().map(str::to_owned).collect();
        for (tracing, child) in [("off", run("0")), ("on", run("1"))] {
            let failed = failures(child);
            let names: BTreeSet<_> = failed.keys().cloned().collect();
            assert_eq!(names, differences, "tracing {tracing}: {failed:#?}");
        }
    }
}

/// The scenarios that did not pass, and why.
fn failures(child: Child) -> BTreeMap<String, Value> {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default();
    let outcomes = report["outcomes"].as_object().unwrap_or_else(|| panic!("{}: {text}", output.status));
    let passed = outcomes.values().filter(|outcome| *outcome == "ok").count();
    println!("{}: {passed} of {} scenarios passed", report["client"], outcomes.len());
    assert!(passed > 0, "{text}");
    outcomes.iter().filter(|(_, outcome)| *outcome != "ok").map(|(name, why)| (name.clone(), why.clone())).collect()
}
