//! The built binary on a pull subscription of Google's emulator.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;
use tests::{Emulator, Function, Received, command, unique};

use crate::mixed;

/// A `main --no-http`; killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(variables: &[(&str, &str)]) -> Self {
        Self(command(variables).arg("--no-http").stdout(Stdio::null()).spawn().unwrap())
    }

    /// Sends SIGTERM; returns the exit code.
    fn terminate(mut self) -> Option<i32> {
        assert!(Command::new("kill").arg(self.0.id().to_string()).status().unwrap().success());
        self.0.wait().unwrap().code()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Topics and subscriptions of one test, on the shared emulator.
struct Parts {
    emulator: &'static Emulator,
    topic: String,
    work: String,
    results: [String; 2],
    dead: [String; 2],
}

impl Parts {
    async fn make() -> Option<Self> {
        let emulator = Emulator::shared()?;
        let (topic, work) = emulator.create_topic_and_subscription(&unique("pulled")).await;
        let results = emulator.create_topic_and_subscription(&unique("results")).await;
        let dead = emulator.create_topic_and_subscription(&unique("dead")).await;
        Some(Self { emulator, topic, work, results: results.into(), dead: dead.into() })
    }

    fn variables(&self) -> [(&str, &str); 4] {
        [
            ("PUBSUB_EMULATOR_HOST", self.emulator.host()),
            ("PULL_SUBSCRIPTION", &self.work),
            ("RESULTS", &self.results[0]),
            ("DEAD_LETTER_TOPIC", &self.dead[0]),
        ]
    }
}

fn empty_topology() -> String {
    let path = std::env::temp_dir().join(format!("{}-{}.toml", unique("empty-topology"), std::process::id()));
    std::fs::write(&path, "").unwrap();
    path.display().to_string()
}

#[tokio::test]
async fn a_thousand_pulled_messages_are_results_or_dead_letters() {
    let Some(parts) = Parts::make().await else { return };
    let _worker = Worker::start(&parts.variables());
    mixed::publish(parts.emulator, &parts.topic, 1000, 5).await;
    let mut keys = Vec::new();
    for result in parts.emulator.pull(&parts.results[1], 900, Duration::from_secs(60)).await {
        assert_eq!(result.attribute("ce-type"), format!("ai.workloads.{}.completed.v1", result.attribute("task")));
        keys.push(result.attribute("idempotency-key").to_owned());
    }
    assert_eq!(keys.len(), 900);
    for letter in parts.emulator.pull(&parts.dead[1], 100, Duration::from_secs(60)).await {
        assert_eq!((letter.attribute("dead-letter-reason"), &letter.data[..]), ("unknown-task", &b"hopeless"[..]));
        assert_eq!(letter.attribute("dead-letter-source-topic"), parts.topic);
        keys.push(letter.attribute("idempotency-key").to_owned());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1000);
}

#[tokio::test]
async fn what_a_killed_process_held_another_one_finishes() {
    let Some(parts) = Parts::make().await else { return };
    mixed::publish(parts.emulator, &parts.topic, 1000, 150).await;
    let first = Worker::start(&parts.variables());
    let patience = Duration::from_secs(60);
    let mut before = parts.emulator.pull(&parts.results[1], 50, patience).await;
    drop(first); // SIGKILL
    before.extend(parts.emulator.pull(&parts.results[1], 900, Duration::from_millis(500)).await);
    assert!((50..900).contains(&before.len()), "{} results before the kill", before.len());
    let _second = Worker::start(&parts.variables());
    let mut keys: Vec<String> = before.iter().map(|result| result.attribute("idempotency-key").to_owned()).collect();
    let missing = 900 - keys.len();
    keys.extend(mixed::keys(parts.emulator, &parts.results[1], missing).await.into_keys());
    while {
        keys.sort();
        keys.dedup();
        keys.len() < 900
    } {
        // What was published and not yet acknowledged comes twice.
        let more = mixed::keys(parts.emulator, &parts.results[1], 1).await;
        assert!(!more.is_empty(), "{} of 900 results", keys.len());
        keys.extend(more.into_keys());
    }
    keys.extend(mixed::keys(parts.emulator, &parts.dead[1], 100).await.into_keys());
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1000);
}

#[tokio::test]
async fn the_stop_signal_ends_what_is_leased_and_leaves_the_rest() {
    let Some(parts) = Parts::make().await else { return };
    mixed::publish(parts.emulator, &parts.topic, 2000, 30).await;
    let first = Worker::start(&parts.variables());
    let key = |result: Received| result.attribute("idempotency-key").to_owned();
    let mut done = parts.emulator.pull(&parts.results[1], 10, Duration::from_secs(60)).await;
    assert_eq!(first.terminate(), Some(0));
    // It waits for no answers any more: every result of the first process is there.
    done.extend(parts.emulator.pull(&parts.results[1], 1790, Duration::from_millis(500)).await);
    let done: BTreeSet<String> = done.into_iter().map(key).collect();
    let dead = parts.emulator.pull(&parts.dead[1], 200, Duration::from_millis(500)).await;
    let dead: BTreeSet<String> = dead.into_iter().map(key).collect();
    assert!((10..1800).contains(&done.len()), "{} results before the end", done.len());
    // All that it had done was acknowledged: the second process does the rest and nothing else.
    let _second = Worker::start(&parts.variables());
    let rest = mixed::keys(parts.emulator, &parts.results[1], 1800 - done.len()).await;
    let rest_dead = mixed::keys(parts.emulator, &parts.dead[1], 200 - dead.len()).await;
    assert_eq!((done.len() + rest.len(), dead.len() + rest_dead.len()), (1800, 200));
    assert!(done.iter().all(|key| !rest.contains_key(key)) && dead.iter().all(|key| !rest_dead.contains_key(key)));
}

#[tokio::test]
async fn one_key_s_results_keep_its_order_and_name_the_topic() {
    let Some(parts) = Parts::make().await else { return };
    let messages: Vec<_> = (0..60)
        .map(|n| {
            // Long and short ones alternate: if they ran at the same time, the short ones would overtake.
            let text = if n % 2 == 0 { "d29yZCB3b3JkIHdvcmQg".repeat(60) } else { "d29yZCB3b3JkIHdvcmQg".to_owned() };
            json!({"data": text, "orderingKey": if n < 40 { "a" } else { "b" }})
        })
        .collect();
    let ids = parts.emulator.publish_messages(&parts.topic, &messages).await;
    let _worker = Worker::start(&parts.variables());
    let results = parts.emulator.pull(&parts.results[1], 60, Duration::from_secs(60)).await;
    let of = |key: &str| -> Vec<&str> {
        let own = results.iter().filter(|result| result.ordering_key == key);
        own.map(|result| result.attribute("source-message-id")).collect()
    };
    assert_eq!(
        (of("a"), of("b")),
        (ids[..40].iter().map(|id| &**id).collect(), ids[40..].iter().map(|id| &**id).collect())
    );
    let first = results.iter().find(|result| result.attribute("source-message-id") == ids[0]).unwrap();
    assert_eq!(first.attribute("ce-id"), format!("//pubsub.googleapis.com/{}/{}", parts.topic, ids[0]));
}

#[tokio::test]
async fn a_rejected_message_without_a_dead_letter_topic_is_given_back() {
    let Some(parts) = Parts::make().await else { return };
    let policy = json!({"deadLetterPolicy": {"deadLetterTopic": parts.dead[0], "maxDeliveryAttempts": 5}});
    let work = parts.emulator.create_subscription(&unique("policy"), &parts.topic, policy).await;
    let topology = empty_topology();
    let _worker = Worker::start(&[
        ("PUBSUB_EMULATOR_HOST", parts.emulator.host()),
        ("PULL_SUBSCRIPTION", &work),
        ("RESULTS", &parts.results[0]),
        ("TOPOLOGY", &topology),
    ]);
    parts.emulator.publish(&parts.topic, b"x", &[("task", "translate")]).await;
    let letter = parts.emulator.pull(&parts.dead[1], 1, Duration::from_secs(60)).await.remove(0);
    assert_eq!(letter.attribute("CloudPubSubDeadLetterSourceDeliveryCount"), "5");
    assert_eq!(letter.attribute("dead-letter-reason"), "");
}

#[tokio::test]
async fn a_short_name_and_requests_beside_it() {
    let Some(parts) = Parts::make().await else { return };
    let topology = empty_topology();
    let short = parts.work.rsplit('/').next().unwrap();
    let function = Function::start(&[
        ("PUBSUB_EMULATOR_HOST", parts.emulator.host()),
        ("GOOGLE_CLOUD_PROJECT", parts.emulator.project()),
        ("PULL_SUBSCRIPTION", short),
        ("TOPOLOGY", &topology),
    ])
    .await;
    let (status, body) = function.push("asked", &[]).await;
    assert_eq!((status, &body["model"]), (200, &json!("all-MiniLM-L6-v2")));
    let id = parts.emulator.publish(&parts.topic, b"pulled", &[]).await;
    let counted = r#"messages_total{task="embed",outcome="done"} 2"#;
    let start = std::time::Instant::now();
    while !function.get("/metrics").await.text().await.unwrap().contains(counted) {
        assert!(start.elapsed() < Duration::from_secs(30), "not pulled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (code, printed) = function.terminate();
    assert_eq!(code, Some(0));
    let key = format!("{}/{id}", parts.topic);
    assert!(printed.lines().count() == 2 && printed.contains(&key), "{printed}");
}

#[tokio::test]
async fn a_restarted_service_is_pulled_from_again() {
    let Some(emulator) = Emulator::start() else { return };
    let host = emulator.host().to_owned();
    let (topic, work) = emulator.create_topic_and_subscription("again").await;
    let (results, subscription) = emulator.create_topic_and_subscription("results").await;
    let _worker =
        Worker::start(&[("PUBSUB_EMULATOR_HOST", &host), ("PULL_SUBSCRIPTION", &work), ("RESULTS", &results)]);
    emulator.publish(&topic, b"before", &[]).await;
    emulator.pull_one(&subscription).await;
    drop(emulator);
    let Some(emulator) = Emulator::start_at(&host) else { return };
    emulator.create_topic_and_subscription("again").await;
    emulator.create_topic_and_subscription("results").await;
    emulator.publish(&topic, b"after", &[]).await;
    let results = emulator.pull(&subscription, 1, Duration::from_secs(60)).await;
    assert_eq!(results.len(), 1);
}

#[tokio::test]
async fn what_cannot_be_pulled_ends_the_start_and_says_why() {
    let Some(parts) = Parts::make().await else { return };
    let push = parts.emulator.create_push(&unique("push"), &parts.topic, "http://127.0.0.1:9/").await;
    let host = ("PUBSUB_EMULATOR_HOST", parts.emulator.host());
    for (pull, results, named, right) in [
        (
            "projects/test-project/subscriptions/nobody",
            "stdout",
            "PULL_SUBSCRIPTION",
            "no such subscription; create it",
        ),
        (&push, "stdout", "PULL_SUBSCRIPTION", "without a push endpoint"),
        ("projects/test-project/topics/t", "stdout", "PULL_SUBSCRIPTION", "projects/P/subscriptions/NAME"),
        ("short", "stdout", "GOOGLE_CLOUD_PROJECT", "projects/P/subscriptions/short"),
        (&parts.work, "response", "RESULTS", "gs://BUCKET/PREFIX/"),
        ("", "stdout", "PULL_SUBSCRIPTION", "--no-http"),
    ] {
        let mut command = command(&[host, ("PULL_SUBSCRIPTION", pull), ("RESULTS", results)]);
        let output = command.arg("--no-http").stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{pull}: {text}");
        assert!(text.contains(named) && text.contains(right), "{pull}: {text}");
    }
}
