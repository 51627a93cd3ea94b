//! `cargo xtask` against Google's Pub/Sub emulator, fake-gcs-server, and stand-ins for the APIs that have none, which
//! check every request against Google's own API descriptions.

mod agents;
mod archive;
mod buckets;
mod changes;
mod secrets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use deploy::cloud::Api;
use serde_json::{Value, json};
use tests::{Behaviour, Emulator, Fault, FaultKind, Google, Ran, Storage, unique, xtask, xtask_command};

/// A project to deploy to, and what was deployed to it.
struct Project {
    google: Google,
    folder: PathBuf,
    topology: PathBuf,
}

impl Project {
    /// A new project, as Google creates it.
    fn new() -> Option<Self> {
        Self::start(Behaviour::default())
    }

    fn start(behaviour: Behaviour) -> Option<Self> {
        let (emulator, storage) = (Emulator::shared()?, Storage::shared()?);
        let google = Google::start_as(emulator.host(), storage.host(), behaviour)?;
        let folder = std::env::temp_dir().join(unique("deploy"));
        fs::create_dir_all(&folder).unwrap();
        let topology = folder.join("topology.toml");
        fs::write(&topology, include_str!("../../../infra/topology.toml")).unwrap();
        Some(Self { google, folder, topology })
    }

    /// An archive with this content.
    fn archive(&self, content: &str) -> String {
        let path = self.folder.join(format!("{content}.tar.gz"));
        let main = format!("#!/bin/sh\necho {content}\n");
        fs::write(&path, tests::tar_gz(&[("main", main.as_bytes(), 0o755)])).unwrap();
        path.display().to_string()
    }

    fn edit(&self, from: &str, to: &str) {
        let text = fs::read_to_string(&self.topology).unwrap();
        assert!(text.contains(from), "{from} is not in the topology");
        fs::write(&self.topology, text.replacen(from, to, 1)).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        xtask(&self.arguments(arguments), &self.google.environment())
    }

    fn arguments<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        let topology = ["--topology", self.topology.to_str().unwrap()];
        arguments.iter().copied().chain(topology).collect()
    }

    fn deploy(&self, content: &str) -> Ran {
        let archive = self.archive(content);
        self.run(&["deploy", "--yes", "--json", "--archive", &archive])
    }

    fn plan(&self, content: &str) -> Value {
        let archive = self.archive(content);
        self.run(&["plan", "--json", "--archive", &archive]).ok().json()
    }

    fn object(&self) -> String {
        let outputs = self.run(&["outputs", "--json"]).ok().json();
        outputs["object"].as_str().unwrap().to_owned()
    }

    /// The snapshot without the project's id, also as a query writes it, so that those of two projects compare.
    fn state(&self) -> Value {
        let id = self.google.project();
        let text =
            self.google.snapshot().to_string().replace(id, "PROJECT").replace(&id.replace('-', "%2D"), "PROJECT");
        serde_json::from_str(&text).unwrap()
    }

    /// Checks that Google would have understood every request, and that a token can be made for every deployed push.
    fn check(&self) {
        let violations = self.google.violations();
        assert!(violations.is_empty(), "{violations:#?}");
        let undeliverable = self.google.undeliverable();
        assert!(undeliverable.is_empty(), "{undeliverable:#?}");
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// `create`, `update`, `replace`, `delete` of a plan.
fn counts(plan: &Value) -> [u64; 4] {
    ["create", "update", "replace", "delete"].map(|key| plan[key].as_u64().unwrap())
}

#[test]
fn the_whole_life_of_a_deployment() {
    let Some(project) = Project::new() else {
        return;
    };
    let outputs = project.deploy("one").ok();
    let outputs = outputs.json();
    assert_eq!(outputs["topic_name"], "ai-workloads-topic");
    assert_eq!(outputs["subscription_name"], "ai-workloads-subscription");
    assert_eq!(outputs["cloud_function_name"], "ai-workloads-function");
    assert_eq!(outputs["bucket"], format!("{}-ai-workloads", project.google.project()));
    assert!(outputs["service_urls"]["ai-workloads-function"].as_str().unwrap().starts_with("https://"), "{outputs}");
    let requests = project.google.mutations();
    // A newcomer is not let in by anyone's name.
    assert!(!requests.iter().any(|request| request.body.to_string().contains("allUsers")));
    // The function writes below its ledger alone, and not what it is made from.
    // A request may have come before the account was known everywhere.
    let access = requests.iter().filter(|request| request.status == Some(200));
    let access: Vec<_> =
        access.filter(|request| request.body.to_string().contains("roles/storage.objectUser")).collect();
    assert_eq!(access.len(), 1, "{access:#?}");
    assert_eq!(access[0].body["version"], 3);
    let bindings = access[0].body["bindings"].to_string();
    assert!(bindings.contains("/objects/ledger/"), "{bindings}");
    let bucket = outputs["bucket"].as_str().unwrap().to_owned();
    let rule = requests.iter().find_map(|request| request.body.get("lifecycle")).unwrap();
    assert_eq!(rule["rule"][0]["condition"], json!({"age": 14, "matchesPrefix": ["ledger/"]}));
    project.check();

    // Once more: no change, and no request that would be one.
    project.google.forget_requests();
    let again = project.deploy("one").ok();
    assert!(again.stderr.contains("No changes."), "{}", again.stderr);
    assert_eq!(project.google.mutations(), []);
    assert_eq!(again.json(), outputs);

    // One field, one step.
    project.edit("max-instances = 10", "max-instances = 20");
    let plan = project.plan("one");
    assert_eq!(counts(&plan), [0, 1, 0, 0], "{plan:#}");
    assert_eq!(plan["steps"][0]["changes"][0]["path"], "template.scaling.maxInstanceCount");
    let _ = project.deploy("one").ok();

    // A new archive; and back to the one before, without a build.
    let first = project.object();
    let _ = project.deploy("two").ok();
    let second = project.object();
    assert_ne!(first, second);
    let list = project.run(&["rollback", "--list", "--json"]).ok().json();
    assert_eq!(list["services"][0]["archives"].as_array().unwrap().len(), 2, "{list}");
    let _ = project.run(&["rollback", "--yes"]).ok();
    assert_eq!(project.object(), first);
    let _ = project.run(&["rollback"]).failed(1, "no revision with an earlier archive");
    let _ = project.run(&["rollback", "--yes", "--to", "0000"]).failed(1, "no revision with an archive 0000");
    let _ = project.deploy("two").ok();
    assert_eq!(project.object(), second);

    // Nobody can be asked, so nothing is deleted. Entries of the ledger go with the bucket.
    let storage = Storage::shared().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(storage.write(&bucket, "ledger/ai-workloads-function/embed/done/k", "{}"));
    let _ = project.run(&["destroy"]).failed(1, "--yes");
    let destroyed = project.run(&["destroy", "--yes"]).ok();
    assert!(destroyed.stderr.contains("1 entries of ledgers"), "{}", destroyed.stderr);
    let left = project.google.snapshot();
    assert!(empty(&left), "{left:#}");
    let gone = project.run(&["destroy", "--yes"]).ok();
    assert!(gone.stderr.contains("Nothing to destroy"), "{}", gone.stderr);
    let _ = project.run(&["outputs"]).failed(1, "cargo xtask deploy");
    project.check();
}

/// What differs between two snapshots.
fn differences(a: &Value, b: &Value, path: &str, all: &mut Vec<String>) {
    match (a, b) {
        (Value::Object(x), Value::Object(y)) => {
            for key in x.keys().chain(y.keys().filter(|key| !x.contains_key(*key))) {
                differences(&a[key], &b[key], &format!("{path}/{key}"), all);
            }
        }
        (Value::Array(x), Value::Array(y)) if x.len() == y.len() => {
            for (index, (a, b)) in x.iter().zip(y).enumerate() {
                differences(a, b, &format!("{path}[{index}]"), all);
            }
        }
        _ if a == b => {}
        _ => all.push(format!("{path}: {a} and {b}")),
    }
}

fn assert_same(reached: &Value, expected: &Value, when: &str) {
    let mut all = Vec::new();
    differences(reached, expected, "", &mut all);
    assert!(all.is_empty(), "{when}: {all:#?}");
}

/// Whether a snapshot of the project holds nothing.
fn empty(snapshot: &Value) -> bool {
    match snapshot {
        Value::Object(fields) => fields.values().all(empty),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_is_seen_and_mended() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let deployed = project.google.snapshot();
    let client = reqwest::Client::new();

    // By hand: the service open to the internet, and everyone may call it.
    let name = format!(
        "projects/{}/locations/{}/services/ai-workloads-function",
        project.google.project(),
        project.google.region()
    );
    let service = project.google.url(Api::Run, &format!("/v2/{name}"));
    let body = serde_json::json!({"ingress": "INGRESS_TRAFFIC_ALL"});
    let answer = client.patch(format!("{service}?updateMask=ingress")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let policy: Value = client.get(format!("{service}:getIamPolicy")).send().await.unwrap().json().await.unwrap();
    let mut opened = policy.clone();
    opened["bindings"]
        .as_array_mut()
        .unwrap()
        .push(serde_json::json!({"role": "roles/run.invoker", "members": ["allUsers"]}));
    let body = serde_json::json!({"policy": opened});
    let answer = client.post(format!("{service}:setIamPolicy")).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 200);

    let archive = project.archive("one");
    let plan = project.run(&["plan", "--archive", &archive]).ok();
    assert!(plan.stdout.contains("INGRESS_TRAFFIC_ALL"), "{}", plan.stdout);
    assert!(plan.stdout.contains("- roles/run.invoker: \"allUsers\""), "{}", plan.stdout);
    let changes = project.run(&["plan", "--detailed-exitcode", "--archive", &archive]);
    assert_eq!(changes.code, Some(2), "{}", changes.stderr);
    let _ = project.deploy("one").ok();
    assert_same(&project.google.snapshot(), &deployed, "after the drift");
    project.check();
}

/// Makes the nth mutating request of a deployment to an empty project fail in this way; returns the state that a
/// plain `deploy` reaches after it, or `None` when there are fewer requests.
fn troubled(nth: usize, kind: FaultKind) -> Option<Value> {
    let project = Project::new()?;
    project.google.fail(Fault::nth(nth, kind));
    let first = project.deploy("one");
    if project.google.faults_left() > 0 {
        return None;
    }
    if first.code != Some(0) {
        assert!(first.stderr.contains("run `cargo xtask deploy` again"), "{}", first.stderr);
        let _ = project.deploy("one").ok();
    }
    let reached = project.state();
    let last = project.deploy("one").ok();
    assert!(last.stderr.contains("No changes."), "after {kind:?} at request {nth}: {}", last.stderr);
    project.check();
    let _ = project.run(&["destroy", "--yes"]).ok();
    let left = project.google.snapshot();
    assert!(empty(&left), "after {kind:?} at request {nth} destroy left {left:#}");
    Some(reached)
}

/// Every mutating request of a deployment fails once, alternately in one of two forms.
fn every_request_fails_once(kinds: [FaultKind; 2]) {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let expected = project.state();
    let requests = project.google.mutating();
    assert!(requests > 20, "{requests}");
    drop(project);
    let jobs: Vec<(usize, FaultKind)> = (1..=requests).map(|nth| (nth, kinds[nth % 2])).collect();
    std::thread::scope(|scope| {
        for part in jobs.chunks(jobs.len().div_ceil(4)) {
            let expected = &expected;
            scope.spawn(move || {
                for (nth, kind) in part {
                    if let Some(mut reached) = troubled(*nth, *kind) {
                        if matches!(kind, FaultKind::OperationFails) {
                            // The service's first revision may have failed, and the one that runs is its second.
                            let text = reached.to_string().replace("-00002-", "-00001-");
                            reached = serde_json::from_str(&text).unwrap();
                        }
                        assert_same(&reached, expected, &format!("after {kind:?} at request {nth}"));
                    }
                }
            });
        }
    });
}

#[test]
fn a_request_that_is_refused_once_costs_nothing() {
    every_request_fails_once([FaultKind::Unavailable, FaultKind::Conflict]);
}

#[test]
fn a_connection_that_is_cut_before_or_after_the_effect_costs_nothing() {
    every_request_fails_once([FaultKind::DropBefore, FaultKind::DropAfter]);
}

#[test]
fn an_operation_that_ends_in_an_error_is_gone_on_from() {
    every_request_fails_once([FaultKind::OperationFails, FaultKind::TooMany]);
}

#[test]
fn two_deployments_at_once_end_in_one_of_the_two_states() {
    let Some(project) = Project::new() else {
        return;
    };
    let [one, two] = ["one", "two"].map(|content| {
        let archive = project.archive(content);
        let arguments = ["deploy", "--yes", "--archive", &archive];
        xtask_command(&project.arguments(&arguments), &project.google.environment())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    });
    let outputs = [one, two].map(|child| child.wait_with_output().unwrap());
    assert!(outputs.iter().any(|output| output.status.success()), "{outputs:?}");
    // What the later one left is whole: nothing is to do for one of the two archives.
    let plans = [project.plan("one"), project.plan("two")];
    assert!(plans.iter().any(|plan| counts(plan) == [0; 4]), "{plans:#?}");
    project.check();
}

#[test]
fn a_bucket_with_foreign_objects_is_not_destroyed() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let bucket = format!("{}-ai-workloads", project.google.project());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let storage = Storage::shared().unwrap();
    runtime.block_on(storage.write(&bucket, "holiday.jpg", "not ours"));
    let before = project.google.snapshot();
    let _ = project.run(&["destroy", "--yes"]).failed(1, "holiday.jpg");
    assert_eq!(project.google.snapshot(), before, "something was deleted all the same");
    runtime.block_on(storage.delete(&bucket, "holiday.jpg"));
    let _ = project.run(&["destroy", "--yes"]).ok();
    assert!(empty(&project.google.snapshot()));
}

#[test]
fn an_environment_lives_beside_the_others() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let production = project.google.snapshot();
    let archive = project.archive("one");
    let staging = project.run(&["deploy", "--yes", "--json", "--env", "staging", "--archive", &archive]).ok().json();
    assert_eq!(staging["cloud_function_name"], "ai-workloads-function-staging");
    let none = project.plan("one");
    assert_eq!(counts(&none), [0; 4], "staging is not an orphan of the other: {none:#}");
    let _ = project.run(&["destroy", "--yes", "--env", "staging"]).ok();
    assert_eq!(project.google.snapshot(), production);
}

#[test]
fn what_is_taken_out_of_the_topology_is_deleted() {
    let Some(project) = Project::new() else {
        return;
    };
    project
        .edit("[service-accounts.ai-workloads-function]", "[topics.extra]\n\n[service-accounts.ai-workloads-function]");
    let _ = project.deploy("one").ok();
    project.edit("[topics.extra]\n", "");
    let plan = project.plan("one");
    assert_eq!(counts(&plan), [0, 0, 0, 1], "{plan:#}");
    let _ = project.deploy("one").ok();
    assert!(!project.google.snapshot().to_string().contains("topics/extra"));
    project.check();
}

#[test]
fn a_plan_needs_no_account() {
    let plan = xtask(&["plan", "--offline"], &[]).ok();
    for name in ["ai-workloads-topic", "ai-workloads-subscription", "ai-workloads-function", "to create"] {
        assert!(plan.stdout.contains(name), "{}", plan.stdout);
    }
    let archive = archive_beside(&std::env::temp_dir());
    let error = xtask(&["plan", "--archive", &archive.display().to_string()], &[]);
    let _ = error.failed(1, "no Google Cloud project is set");
    fs::remove_file(archive).unwrap();
    let _ = xtask(&["plan", "--snapshot", "x"], &[]).failed(2, "--offline");
}

fn archive_beside(folder: &Path) -> PathBuf {
    let path = folder.join(unique("archive"));
    fs::write(&path, tests::tar_gz(&[("main", b"#!/bin/sh\n", 0o755)])).unwrap();
    path
}

#[test]
fn a_snapshot_is_compared_with_offline() {
    let Some(project) = Project::new() else {
        return;
    };
    let _ = project.deploy("one").ok();
    let snapshot = project.folder.join("found.json").display().to_string();
    let archive = project.archive("one");
    let _ = project.run(&["plan", "--archive", &archive, "--write-snapshot", &snapshot]).ok();
    project.edit("cpu = 1\n", "cpu = 2\n");
    let arguments = project.arguments(&["plan", "--offline", "--json", "--snapshot", &snapshot]);
    let plan = xtask(&arguments, &[]).ok().json();
    assert_eq!(counts(&plan), [0, 1, 0, 0], "{plan:#}");
}

#[test]
fn doctor_says_what_it_can() {
    let alone = xtask(&["doctor"], &[]);
    assert_eq!(alone.code, Some(1), "{}", alone.stdout);
    for word in ["cargo", "topology", "no Google Cloud project is set"] {
        assert!(alone.stdout.contains(word), "{word} is not in:\n{}", alone.stdout);
    }
    let Some(project) = Project::new() else {
        return;
    };
    // Before its API is enabled it cannot be asked for permissions.
    let _ = project.run(&["doctor"]).ok();
    let _ = project.deploy("one").ok();
    let checks = project.run(&["doctor", "--json"]).ok().json();
    assert!(checks.to_string().contains("GOOGLE_CLOUD_PROJECT"), "{checks:#}");
    project.google.deny("run.services.create");
    let denied = project.run(&["doctor"]);
    assert_eq!(denied.code, Some(1));
    assert!(
        denied.stdout.contains("run.services.create") && denied.stdout.contains("roles/run.admin"),
        "{}",
        denied.stdout
    );
}
