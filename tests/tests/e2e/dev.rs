//! `cargo xtask dev`, the built binary, with a topology of its own.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tests::{unique, xtask_command};

const TOPOLOGY: &str = r#"
[topics.work]
[topics.results]
[topics.dead]
[services.clerk]
timeout = "10s"
results = ["topic:results"]
dead-letter-topic = "dead"
labels = ["billing", "praise"]
[[services.clerk.routes]]
filter = 'attributes.kind = "ticket"'
task = "classify"
[services.clerk.trigger]
topic = "work"
service-account = "caller"
ack-deadline = "10s"
[service-accounts.caller]
[subscriptions.dead-subscription]
topic = "dead"
"#;

/// A running `dev` and its output; killed when dropped.
struct Dev {
    child: Child,
    lines: Receiver<Value>,
    folder: PathBuf,
    /// What it prints once everything runs.
    ready: Value,
}

impl Dev {
    fn start(topology: &str, arguments: &[&str]) -> Self {
        let folder = std::env::temp_dir().join(format!("{}-{}", unique("dev"), std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = folder.join("topology.toml");
        std::fs::write(&file, topology).unwrap();
        let (file, binary) = (file.display().to_string(), binary().display().to_string());
        let own = ["dev", "--json", "--topology", &file, "--binary", &binary];
        let mut command = xtask_command(&[&own, arguments].concat(), &[]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in out.lines() {
                let line = line.unwrap();
                let value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
                if send.send(value).is_err() {
                    return;
                }
            }
        });
        let mut dev = Self { child, lines, folder, ready: Value::Null };
        dev.ready = dev.wait("ready", |_| true);
        dev
    }

    /// The next line of this type for which `fits` is true.
    fn wait(&self, kind: &str, fits: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(60);
        let mut seen = Vec::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let Ok(line) = line else { panic!("no {kind} that fits; there were {seen:#?}") };
            if line["type"] == kind && fits(&line) {
                return line;
            }
            seen.push(line);
        }
    }

    fn message(&self, fits: impl Fn(&Value) -> bool) -> Value {
        self.wait("message", fits)
    }

    fn variables(&self) -> [(&str, String); 2] {
        let text = |key: &str| self.ready[key].as_str().unwrap().to_owned();
        [("PUBSUB_EMULATOR_HOST", text("bus")), ("GOOGLE_CLOUD_PROJECT", text("project"))]
    }

    /// Publishes to the topic `work`; returns the message's id.
    fn publish(&self, data: &str, attribute: &str) -> Value {
        let arguments = ["publish", "--json", "--topic", "work", "--data", data, "--attribute", attribute];
        let output = xtask_command(&arguments, &self.variables()).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()["messageIds"][0].clone()
    }

    fn pid(&self) -> u64 {
        self.ready["services"][0]["pid"].as_u64().unwrap()
    }

    fn signal(&self, signal: &str, pid: u64) {
        let sent = Command::new("kill").args(["-s", signal, &pid.to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends SIGTERM; returns the exit code.
    fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM", self.child.id().into());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn binary() -> PathBuf {
    PathBuf::from(tests::command(&[]).get_program())
}

/// Whether this process exists and is not a zombie.
fn lives(pid: u64) -> bool {
    let output = Command::new("ps").args(["-o", "stat=", "-p", &pid.to_string()]).output().unwrap();
    let state = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    !state.is_empty() && !state.starts_with('Z')
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn messages_are_done_or_dead_whatever_happens_to_the_process_and_the_topology() {
    let mut dev = Dev::start(TOPOLOGY, &["--port", "0"]);
    assert_eq!((&dev.ready["project"], &dev.ready["topics"]), (&json!("local"), &json!(["work", "results", "dead"])));

    let id = dev.publish("I was charged twice", "kind=ticket");
    let done = dev.message(|line| line["id"] == id);
    assert_eq!(
        (&done["topic"], &done["service"], &done["task"], &done["outcome"]),
        (&json!("work"), &json!("clerk"), &json!("classify"), &json!("done"))
    );
    assert_eq!(done["result"]["data"][0]["label"], "billing", "{done}");
    assert!(done["ms"].as_f64().unwrap() > 0.0 && done["total_ms"].as_f64().unwrap() >= 0.0);

    let id = dev.publish("a poem", "task=translate");
    let dead = dev.message(|line| line["id"] == id);
    assert_eq!((&dead["outcome"], &dead["attempt"]), (&json!("rejected"), &json!(1)));
    assert_eq!(dead["dead_letter"], json!({"topic": "dead", "reason": "unknown-task"}));
    assert!(dead["detail"].as_str().unwrap().contains("embed, classify, rerank"), "{dead}");

    // The process is killed: another one replaces it, and messages that come meanwhile wait for that.
    let first = dev.pid();
    dev.signal("KILL", first);
    let crashed = dev.wait("service", |line| line["event"] == "crashed");
    assert_eq!((&crashed["service"], &crashed["pid"]), (&json!("clerk"), &json!(first)));
    let id = dev.publish("well done", "kind=ticket");
    let second = dev.wait("service", |line| line["event"] == "ready")["pid"].as_u64().unwrap();
    assert_ne!(first, second);
    let done = dev.message(|line| line["id"] == id);
    assert_eq!((&done["outcome"], &done["attempt"]), (&json!("done"), &json!(1)));

    // A wrong declaration changes nothing, a right one only what differs.
    let file = dev.folder.join("topology.toml");
    std::fs::write(&file, format!("{TOPOLOGY}[subscriptions.urgent]\ntopic = \"wrok\"\n")).unwrap();
    let refused = dev.wait("topology", |_| true);
    assert!(refused["event"] == "refused" && refused["error"].as_str().unwrap().contains("wrok"), "{refused}");
    let urgent = "[subscriptions.urgent]\ntopic = \"work\"\nfilter = 'attributes.priority = \"high\"'\n";
    std::fs::write(&file, format!("{TOPOLOGY}{urgent}")).unwrap();
    let applied = dev.wait("topology", |line| line["event"] == "applied");
    assert_eq!(applied["changes"], json!(["created subscription urgent"]));
    let id = dev.publish("urgent", "priority=high");
    assert_eq!(dev.message(|line| line["id"] == id)["outcome"], "done");
    let variables = dev.variables();
    let host = &variables[0].1;
    let bus = tests::PubSub::at(host).in_project("local");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let pulled = runtime.block_on(bus.pull("projects/local/subscriptions/urgent", 2, Duration::from_secs(2)));
    assert_eq!(pulled.iter().map(|message| &message.id[..]).collect::<Vec<_>>(), [id.as_str().unwrap()]);

    // Its declaration changes: another process takes over, and no message is lost or tried twice.
    let text = format!("{TOPOLOGY}{urgent}").replace("\"billing\"", "\"money\"");
    std::fs::write(&file, text).unwrap();
    let third = dev.wait("service", |line| line["event"] == "ready");
    assert_eq!(third["replaces"], second);
    let third = third["pid"].as_u64().unwrap();
    let id = dev.publish("I was charged twice", "kind=ticket");
    let done = dev.message(|line| line["id"] == id);
    assert!(done["attempt"] == 1 && done["result"].to_string().contains("\"money\""), "{done}");
    until("the old process ends", || !lives(second));

    assert_eq!(dev.terminate(), Some(0));
    until("no process is left", || !lives(third));
}

#[test]
fn no_process_outlives_it_however_it_ends() {
    let mut dev = Dev::start(TOPOLOGY, &["--port", "0"]);
    let pid = dev.pid();
    assert!(lives(pid));
    dev.signal("KILL", dev.child.id().into());
    dev.child.wait().unwrap();
    until("the service ends with it", || !lives(pid));
}

#[test]
fn it_uses_a_pubsub_that_runs_already() {
    let bus = tests::Bus::start();
    let mut dev = Dev::start(TOPOLOGY, &["--bus", bus.host()]);
    assert_eq!(dev.ready["bus"], bus.host());
    let id = dev.publish("I was charged twice", "kind=ticket");
    let done = dev.message(|line| line["id"] == id);
    assert_eq!((&done["task"], &done["result"]["data"][0]["label"]), (&json!("classify"), &json!("billing")));
    let id = dev.publish("a poem", "task=translate");
    assert_eq!(dev.message(|line| line["id"] == id)["dead_letter"]["reason"], "unknown-task");
    assert_eq!(dev.terminate(), Some(0));
    // What comes now waits for the next run, and nothing of this one is left but what is declared.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let list = "projects/local/subscriptions";
    let (_, listed) = runtime.block_on(bus.call("GET", list, &json!({})));
    let mut names: Vec<&str> =
        listed["subscriptions"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        ["projects/local/subscriptions/dead-subscription", "projects/local/subscriptions/eventarc-local-clerk-sub"]
    );
    dev.publish("later", "task=embed");
    assert_eq!(bus.handle().backlog("projects/local/subscriptions/eventarc-local-clerk-sub"), Some(1));
}

#[test]
fn a_service_may_run_elsewhere_and_what_cannot_be_is_refused() {
    let dev = Dev::start(TOPOLOGY, &["--port", "0"]);
    let port = dev.ready["bus"].as_str().unwrap().rsplit(':').next().unwrap().to_owned();
    let url = dev.ready["services"][0]["url"].as_str().unwrap();
    let other = Dev::start(
        &TOPOLOGY.replace("service-account = \"caller\"\n", ""),
        &["--port", "0", "--service", &format!("clerk={url}")],
    );
    assert_eq!(other.ready["services"], json!([{"name": "clerk", "url": url, "pid": null}]));
    // That process wants a token, which this topology has none of.
    let id = other.publish("to another", "task=embed");
    let refused = other.message(|line| line["id"] == id);
    assert_eq!((&refused["outcome"], &refused["detail"]), (&json!("failed"), &json!("answered 401")));

    let shipped = binary().display().to_string();
    for (arguments, code, right) in [
        (&["--port", &port][..], 1, "--bus 127.0.0.1:"),
        (&["--only", "clrek"], 1, "ai-workloads-function"),
        (&["--service", "clerk"], 2, "NAME=URL"),
        (&["--bus", "127.0.0.1:1"], 1, "no Pub/Sub at 127.0.0.1:1"),
        (&["--bus", "127.0.0.1"], 2, "HOST:PORT"),
    ] {
        let all = [&["dev", "--binary", &shipped], arguments].concat();
        let ended = xtask_command(&all, &[]).stdin(Stdio::null()).output().unwrap();
        let error = String::from_utf8_lossy(&ended.stderr);
        assert!(ended.status.code() == Some(code) && error.contains(right), "{arguments:?}: {error}");
    }
}
