//! `cargo xtask publish` and `dlq`, the built binary.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tests::{Function, PubSub, Storage, unique, xtask_command};

/// A topology, and the environment in which the verbs find it.
struct Project {
    pubsub: PubSub,
    folder: PathBuf,
    topology: String,
    work: String,
    dead: String,
    holds: String,
    /// The subscription that gets everything published to `work`.
    watch: String,
    storage: String,
}

impl Project {
    async fn make(pubsub: &PubSub, more: &str) -> Self {
        let pubsub = pubsub.clone();
        let (work, dead) = (unique("verbs-work"), unique("verbs-dead"));
        let topics = (pubsub.create_topic(&work).await, pubsub.create_topic(&dead).await);
        let holds = pubsub.create_subscription(&format!("{dead}-subscription"), &topics.1, json!({})).await;
        let watch = pubsub.create_pull(&format!("{work}-watch"), &topics.0).await;
        let folder = std::env::temp_dir().join(format!("{work}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let topology = folder.join("topology.toml").display().to_string();
        let text = format!(
            "[topics.{work}]\n[topics.{dead}]\n[subscriptions.{dead}-subscription]\ntopic = \"{dead}\"\n\
             [services.verbs]\ntimeout = \"10s\"\ndead-letter-topic = \"{dead}\"\n{more}\n[services.verbs.trigger]\ntopic = \"{work}\"\n"
        );
        std::fs::write(&topology, text).unwrap();
        let storage = String::new();
        Self { pubsub, folder, topology, work: topics.0, dead: topics.1, holds, watch, storage }
    }

    fn file(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn run(&self, arguments: &[&str], input: Option<&str>) -> Output {
        let variables = [
            ("PUBSUB_EMULATOR_HOST", self.pubsub.host().to_owned()),
            ("STORAGE_EMULATOR_HOST", self.storage.clone()),
            ("GOOGLE_CLOUD_PROJECT", self.pubsub.project().to_owned()),
        ];
        let mut command = xtask_command(arguments, &variables);
        command.args(["--topology", &self.topology]);
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        if let Some(input) = input {
            child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        }
        child.wait_with_output().unwrap()
    }

    /// Runs a verb that succeeds; returns what it prints.
    fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, None);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// Lists dead letters until there are this many, or a minute is over.
    fn letters(&self, count: usize) -> Vec<Value> {
        let mut letters = Vec::new();
        for _ in 0..30 {
            let found = self.json(&["dlq", "list", "--wait", "2"]);
            letters = found["messages"].as_array().unwrap().clone();
            if letters.len() == count {
                break;
            }
        }
        letters
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

async fn what_is_rejected_is_listed_shown_and_sent_round_again(pubsub: &PubSub) {
    let project = Project::make(pubsub, "").await;
    let pull = project.pubsub.create_pull(&unique("verbs-pull"), &project.work).await;
    let lines: String = (0..20)
        .map(|n| {
            let (task, key) = if n % 4 == 0 { ("translate", "poison") } else { ("embed", "") };
            let line = json!({"data": {"input": format!("text {n}")}, "attributes": {"task": task, "n": n.to_string()},
                "orderingKey": key});
            format!("{line}\n")
        })
        .collect();
    let file = project.file("work.ndjson", lines);
    let published = project.json(&["publish", "--file", &file, "--attribute", "batch=one"]);
    assert_eq!((&published["topic"], &published["published"]), (&json!(project.work), &json!(20)));
    let ids: Vec<&str> = published["messageIds"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
    let sent = project.pubsub.pull(&project.watch, 20, Duration::from_secs(30)).await;
    assert_eq!(sent.len(), 20);
    for message in &sent {
        let n: usize = message.attribute("n").parse().unwrap();
        assert_eq!((message.id.as_str(), message.attribute("batch")), (ids[n], "one"));
        assert_eq!(message.data, format!(r#"{{"input":"text {n}"}}"#));
    }

    let (results, _) = project.pubsub.create_topic_and_subscription(&unique("verbs-results")).await;
    let _function = Function::start(&[
        ("PUBSUB_EMULATOR_HOST", project.pubsub.host()),
        ("PULL_SUBSCRIPTION", &pull),
        ("RESULTS", &results),
        ("DEAD_LETTER_TOPIC", &project.dead),
    ])
    .await;
    let letters = project.letters(5);
    assert_eq!(letters.len(), 5);
    for letter in &letters {
        assert_eq!((&letter["reason"], &letter["source"]), (&json!("unknown-task"), &json!(project.work)));
    }
    let text = project.text(&["dlq", "list", "--wait", "2", "--where", "attributes.n = \"8\""]);
    assert!(text.starts_with("ID") && text.lines().count() == 2 && text.contains("embed, classify, rerank"), "{text}");
    let id = letters[0]["id"].as_str().unwrap();
    let shown = project.json(&["dlq", "show", id]);
    assert_eq!((&shown["id"], &shown["orderingKey"]), (&json!(id), &json!("poison")));
    assert!(shown["data"].as_str().unwrap().contains("input"));
    assert!(project.text(&["dlq", "show", id]).contains("dead-letter-reason = unknown-task"));

    let dry =
        project.json(&["dlq", "redrive", "--dry-run", "--wait", "2", "--where", "attributes.task = \"translate\""]);
    assert_eq!((&dry["redriven"], &dry["topics"]), (&json!(5), &json!({&project.work: 5})));
    assert_eq!(project.letters(5).len(), 5);
    assert!(project.pubsub.pull(&project.watch, 1, Duration::from_millis(200)).await.is_empty());

    // Two go round, are rejected again and are letters again; then the other three.
    let some = project.json(&["dlq", "redrive", "--wait", "2", "--limit", "2", "--rate", "100"]);
    assert_eq!(some["redriven"], 2, "{some}");
    assert_eq!(project.letters(5).len(), 5);
    let rest = project.json(&["dlq", "redrive", "--wait", "2", "--max-redrives", "1"]);
    assert_eq!(rest["redriven"], 3, "{rest}");
    let letters = project.letters(5);
    assert!(letters.len() == 5 && letters.iter().all(|letter| letter["redrives"] == 1), "{letters:?}");
    let none = project.json(&["dlq", "redrive", "--wait", "2", "--max-redrives", "1"]);
    assert_eq!(none["redriven"], 0);
    let copies = project.pubsub.pull(&project.watch, 6, Duration::from_secs(3)).await;
    assert_eq!(copies.len(), 5);
    for copy in copies {
        let names: Vec<&str> = copy.attributes.keys().map(String::as_str).collect();
        assert_eq!((names, copy.ordering_key.as_str()), (vec!["batch", "n", "redrive-count", "task"], "poison"));
    }
}

async fn letters_of_pubsub_go_to_their_subscription_s_topic_and_no_further(pubsub: &PubSub) {
    let project = Project::make(pubsub, "").await;
    let letter = |subscription: &str, of: &str| {
        json!({"data": "eA==", "attributes": {"CloudPubSubDeadLetterSourceSubscription": subscription,
            "CloudPubSubDeadLetterSourceSubscriptionProject": of, "CloudPubSubDeadLetterSourceDeliveryCount": "5", "n": "1"}})
    };
    let short = project.watch.rsplit('/').next().unwrap();
    let elsewhere = json!({"data": "eA==", "attributes": {"dead-letter-source-topic": "projects/other/topics/work"}});
    let messages = [
        letter(short, project.pubsub.project()),
        letter(short, "other"),
        letter("nobody", project.pubsub.project()),
        elsewhere,
        json!({"data": "eA=="}),
    ];
    project.pubsub.publish_messages(&project.dead, &messages).await;
    let listed = project.letters(5);
    assert!(listed.iter().any(|letter| letter["reason"] == "delivered-too-often" && letter["attempts"] == 5));
    let done = project.json(&["dlq", "redrive", "--wait", "2"]);
    assert_eq!((&done["topics"], &done["redriven"]), (&json!({&project.work: 1}), &json!(1)), "{done}");
    assert_eq!(project.pubsub.pull_one(&project.watch).await.attribute("redrive-count"), "1");
    let left: u64 = done["stay"].as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
    assert_eq!(left, 4);
    // A topic that is not there keeps its letters, and says so.
    let output = project.run(&["dlq", "redrive", "--wait", "2", "--topic", "nowhere"], None);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("nowhere") && error.contains("help:"), "{error}");
    assert_eq!(project.letters(4).len(), 4);
    let done = project.json(&["dlq", "redrive", "--wait", "2", "--topic", &project.work]);
    assert_eq!(done["redriven"], 4, "{done}");
    assert!(project.pubsub.pull(&project.holds, 1, Duration::from_secs(1)).await.is_empty());
}

async fn a_wrong_line_sends_nothing_of_a_file_and_ends_standard_input(pubsub: &PubSub) {
    let project = Project::make(pubsub, "").await;
    let lines = "{\"data\": \"one\"}\n\n{\"data\": \"two\"}\n{\"text\": \"three\"}\n{\"data\": \"four\"}\n";
    let file = project.file("wrong.ndjson", lines);
    let output = project.run(&["publish", "--file", &file], None);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && error.contains("wrong.ndjson:4: "), "{error}");
    assert!(project.pubsub.pull(&project.watch, 1, Duration::from_millis(200)).await.is_empty());

    let output = project.run(&["publish", "--file", "-", "--json"], Some(lines));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && error.contains("published 2 messages") && error.contains("-:4: "),
        "{error}"
    );
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["messageIds"].as_array().unwrap().len(), 2);
    assert_eq!(project.pubsub.pull(&project.watch, 3, Duration::from_secs(2)).await.len(), 2);
}

async fn one_message_is_published_as_often_as_asked(pubsub: &PubSub) {
    let project = Project::make(pubsub, "").await;
    let file = project.file("payload.json", "{\"input\": \"from a file\"}");
    let data = format!("@{file}");
    let text = project.text(&["publish", "--data", &data, "--count", "50", "--rate", "1000", "--ordering-key", "k"]);
    assert!(text.contains("published 50 messages"), "{text}");
    let received = project.pubsub.pull(&project.watch, 51, Duration::from_secs(3)).await;
    assert_eq!(received.len(), 50);
    assert!(received.iter().all(|message| message.ordering_key == "k" && message.data.starts_with(b"{\"input\"")));
    let output = project.run(&["publish", "--data", "-", "--attribute", "a=b=c"], Some("from a pipe"));
    assert!(output.status.success());
    let message = project.pubsub.pull_one(&project.watch).await;
    assert_eq!((&message.data[..], message.attribute("a")), (&b"from a pipe"[..], "b=c"));

    for (arguments, code, right) in [
        (&["publish", "--data", "x", "--topic", "nowhere"][..], 1, "projects/test-project/topics/nowhere"),
        (&["publish", "--data", ""], 1, "neither"),
        (&["publish"], 2, "--data"),
        (&["publish", "--data", "x", "--attribute", "a"], 2, "NAME=VALUE"),
        (&["publish", "--data", "x", "--rate", "0"], 2, "0.001"),
        (&["dlq", "list", "--where", "attributes.a ="], 2, "--where"),
        (&["dlq", "list", "--subscription", "nowhere"], 1, "subscriptions/nowhere"),
        (&["dlq", "show", "17", "--wait", "0.5"], 1, "dlq list"),
    ] {
        let output = project.run(arguments, None);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(code) && error.contains(right), "{arguments:?}: {error}");
    }
}

async fn what_no_message_can_hold_becomes_a_claim_check(pubsub: &PubSub) {
    let Some(storage) = Storage::shared() else { return };
    let bucket = unique("verbs-payloads");
    storage.create_bucket(&bucket).await;
    let more = format!("results = [\"gs://{bucket}/results/\"]");
    let mut project = Project::make(pubsub, &more).await;
    project.storage = storage.host().to_owned();
    let data = "word ".repeat(2_100_000);
    let file = project.file("long.txt", &data);
    let argument = format!("@{file}");
    // Twice: the second finds the object there.
    let published = project.json(&["publish", "--data", &argument, "--count", "2", "--attribute", "task=embed"]);
    assert_eq!((&published["published"], &published["claimChecks"]), (&json!(2), &json!(2)));
    let digest: String = Sha256::digest(&data).iter().map(|byte| format!("{byte:02x}")).collect();
    for message in project.pubsub.pull(&project.watch, 2, Duration::from_secs(10)).await {
        assert_eq!((message.data.len(), message.attribute("task")), (0, "embed"));
        assert_eq!(message.attribute("payload-uri"), format!("gs://{bucket}/payloads/{digest}"));
        assert_eq!(message.attribute("payload-sha256"), digest);
        assert!(message.attribute("payload-generation").parse::<i64>().unwrap() > 0);
    }
    assert_eq!(storage.read(&bucket, &format!("payloads/{digest}")).await.unwrap(), data);

    // And the function takes it from there.
    let pull = project.pubsub.create_pull(&unique("verbs-claims"), &project.work).await;
    project.text(&["publish", "--data", &argument]);
    let (results, received) = project.pubsub.create_topic_and_subscription(&unique("verbs-results")).await;
    let _function = Function::start(&[
        ("PUBSUB_EMULATOR_HOST", project.pubsub.host()),
        ("STORAGE_EMULATOR_HOST", storage.host()),
        ("PULL_SUBSCRIPTION", &pull),
        ("PAYLOAD_BUCKETS", &bucket),
        ("RESULTS", &results),
    ])
    .await;
    assert_eq!(project.pubsub.pull_one(&received).await.json()["usage"]["total_tokens"], 256);
}

on_every_pubsub!(
    what_is_rejected_is_listed_shown_and_sent_round_again,
    letters_of_pubsub_go_to_their_subscription_s_topic_and_no_further,
    a_wrong_line_sends_nothing_of_a_file_and_ends_standard_input,
    one_message_is_published_as_often_as_asked,
    what_no_message_can_hold_becomes_a_claim_check,
);
