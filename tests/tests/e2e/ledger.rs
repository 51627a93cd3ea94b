//! One effect a message: the built binary with the local Pub/Sub, and fake-gcs-server behind a gate.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use tests::{Bus, Function, Gate, Received, Storage, unique};
use tokio::net::TcpListener;

/// How long something may take that is certain to happen.
const TIMEOUT: Duration = Duration::from_secs(30);

struct Parts {
    bus: &'static Bus,
    storage: &'static Storage,
    gate: Gate,
    bucket: String,
    topic: String,
    subscription: String,
}

impl Parts {
    async fn new() -> Option<Self> {
        let storage = Storage::shared()?;
        let bus = Bus::shared();
        let bucket = unique("ledger");
        storage.create_bucket(&bucket).await;
        let (topic, subscription) = bus.create_topic_and_subscription(&unique("ledger-results")).await;
        Some(Self { bus, storage, gate: Gate::open(storage).await, bucket, topic, subscription })
    }

    async fn start(&self, more: &[(&str, &str)]) -> Function {
        let ledger = format!("gs://{}/ledger/", self.bucket);
        let settings = [
            ("PUBSUB_EMULATOR_HOST", self.bus.host()),
            ("STORAGE_EMULATOR_HOST", self.gate.host()),
            ("RESULTS", &self.topic),
            ("LEDGER", &ledger),
        ];
        Function::start(&[&settings[..], more].concat()).await
    }

    /// The results so far: all that were published before this call.
    async fn results(&self) -> Vec<Received> {
        self.bus.publish(&self.topic, b"the last", &[]).await;
        let mut received = Vec::new();
        loop {
            let next = self.bus.pull_one(&self.subscription).await;
            if next.data == "the last" {
                return received;
            }
            received.push(next);
        }
    }

    /// The names of the ledger's objects, without their common prefix.
    async fn entries(&self) -> Vec<String> {
        let names = self.storage.list(&self.bucket, "ledger/").await;
        names.iter().map(|name| name.trim_start_matches("ledger/ai-workloads-function/").to_owned()).collect()
    }

    async fn wait_for(&self, entry: &str) {
        let start = Instant::now();
        while !self.entries().await.iter().any(|name| name == entry) {
            assert!(start.elapsed() < TIMEOUT, "no {entry}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn send(function: &Function, key: &str) -> (u16, Value) {
    function.push("a text", &[("idempotency-key", key)]).await
}

/// Sends a message again until it is done, which is long before a claim is stale.
async fn send_until_done(function: &Function, key: &str) {
    let start = Instant::now();
    loop {
        let (status, body) = send(function, key).await;
        if status == 204 || status == 200 {
            return;
        }
        assert_eq!((status, body["outcome"].as_str()), (503, Some("retry")), "{body}");
        assert!(start.elapsed() < TIMEOUT, "never done: {body}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn fifty_copies_at_once_to_two_processes_are_one_result() {
    let Some(parts) = Parts::new().await else { return };
    let processes = [Arc::new(parts.start(&[]).await), Arc::new(parts.start(&[]).await)];
    let senders: Vec<_> = (0..50)
        .map(|n| {
            let function = Arc::clone(&processes[n % 2]);
            tokio::spawn(async move { send_until_done(&function, "order 1/a").await })
        })
        .collect();
    for sender in senders {
        sender.await.unwrap();
    }
    let results = parts.results().await;
    assert_eq!(results.len(), 1);
    assert_eq!(results[0].attribute("ce-id"), "order 1/a");
    let mut ran = 0.0;
    for process in &processes {
        ran += process.metric("batch_messages_sum").await.unwrap();
    }
    assert_eq!(ran, 1.0);
    assert_eq!(parts.entries().await, ["embed/claim/order%201%2Fa", "embed/done/order%201%2Fa"]);

    // Once more, and to a process that knows nothing.
    assert_eq!(send(&processes[0], "order 1/a").await.0, 204);
    let third = parts.start(&[]).await;
    assert_eq!(send(&third, "order 1/a").await.0, 204);
    assert_eq!(third.metric("repeated_messages_total{known_by=\"ledger\"}").await, Some(1.0));
    assert_eq!(third.metric("batch_messages_sum").await, Some(0.0));
    assert_eq!(parts.results().await, []);
}

#[tokio::test]
async fn a_message_costs_two_writes_and_its_repeat_nothing() {
    let Some(parts) = Parts::new().await else { return };
    let function = parts.start(&[("RESULTS", &format!("{},response", parts.topic))]).await;
    let (status, first) = send(&function, "k").await;
    assert_eq!(status, 200);
    let calls = parts.gate.take_calls();
    assert!(calls.len() == 2 && calls.iter().all(|(method, _)| *method == Method::POST), "{calls:?}");
    // The answer's body is there again, from this process.
    assert_eq!(send(&function, "k").await, (200, first));
    assert_eq!(parts.gate.take_calls(), []);
    // From another process the answer is empty: a write that fails, and a read.
    let other = parts.start(&[("RESULTS", &format!("{},response", parts.topic))]).await;
    assert_eq!(send(&other, "k").await, (204, Value::Null));
    let methods: Vec<Method> = parts.gate.take_calls().into_iter().map(|(method, _)| method).collect();
    assert_eq!(methods, [Method::POST, Method::GET]);
    assert_eq!(parts.results().await.len(), 1);

    let claim = parts.storage.read(&parts.bucket, "ledger/ai-workloads-function/embed/claim/k").await.unwrap();
    let done = parts.storage.read(&parts.bucket, "ledger/ai-workloads-function/embed/done/k").await.unwrap();
    let [claim, done]: [Value; 2] = [claim, done].map(|entry| serde_json::from_slice(&entry).unwrap());
    assert_eq!((claim["state"].as_str(), done["state"].as_str()), (Some("claimed"), Some("done")));
    assert_eq!((&done["task"], &done["key"], &done["message_id"]), (&"embed".into(), &"k".into(), &"17".into()));
    assert_eq!(claim["claim"], done["claim"]);
}

#[tokio::test]
async fn another_task_another_key_and_no_ledger_at_all_are_not_mixed_up() {
    let Some(parts) = Parts::new().await else { return };
    let function = parts.start(&[]).await;
    assert_eq!(send(&function, "k").await.0, 204);
    assert_eq!(send(&function, "k2").await.0, 204);
    let classify = r#"{"input": "text", "labels": ["a", "b"]}"#;
    assert_eq!(function.push(classify, &[("idempotency-key", "k"), ("task", "classify")]).await.0, 204);
    assert_eq!(parts.results().await.len(), 3);
    parts.gate.take_calls();
    // Within a process duplicates are found without a ledger, too.
    let alone = parts.start(&[("LEDGER", "off")]).await;
    for _ in 0..3 {
        assert_eq!(send(&alone, "k").await.0, 204);
    }
    assert_eq!((parts.results().await.len(), parts.gate.take_calls().len()), (1, 0));
    // An answer is no effect: the same message with another text is another answer.
    let answers = parts.start(&[("RESULTS", "response")]).await;
    let (_, one) = answers.push("one text", &[]).await;
    let (_, other) = answers.push("another text", &[]).await;
    assert_ne!(one["data"][0]["embedding"], other["data"][0]["embedding"]);
    // A result in a bucket is its own record.
    let objects = format!("gs://{}/out/", parts.bucket);
    let writes = parts.start(&[("RESULTS", &objects)]).await;
    assert_eq!((send(&writes, "k").await.0, send(&writes, "k").await.0), (204, 204));
    assert_eq!((writes.metric("batch_messages_sum").await, parts.gate.take_calls().len()), (Some(1.0), 1));
}

#[tokio::test]
async fn a_claim_of_a_killed_process_is_taken_over_once_it_is_stale() {
    let Some(parts) = Parts::new().await else { return };
    // Takes connections and never answers, so that no publish ends.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = silent.local_addr().unwrap().to_string();
    let killed = Arc::new(parts.start(&[("PUBSUB_EMULATOR_HOST", &host)]).await);
    let request = tokio::spawn({
        let killed = Arc::clone(&killed);
        async move {
            let body = tests::wrapped("a text", &[("idempotency-key", "k")]).to_string();
            let client = reqwest::Client::builder().no_proxy().build().unwrap();
            client.post(killed.url("/")).header("content-type", "application/json").body(body).send().await.map(drop)
        }
    });
    parts.wait_for("embed/claim/k").await;
    let status = std::process::Command::new("kill").args(["-9", &killed.id().to_string()]).status();
    assert!(status.unwrap().success());
    assert!(request.await.unwrap().is_err());

    let patient = parts.start(&[]).await;
    let (status, body) = send(&patient, "k").await;
    assert_eq!((status, body["outcome"].as_str()), (503, Some("retry")));
    let heir = parts.start(&[("LEDGER_STALE_SECONDS", "1")]).await;
    send_until_done(&heir, "k").await;
    assert_eq!(send(&patient, "k").await.0, 204);
    assert_eq!(parts.results().await.len(), 1);
}

#[tokio::test]
async fn work_that_failed_is_released_and_need_not_wait() {
    let Some(parts) = Parts::new().await else { return };
    let id = unique("late");
    let topic = parts.bus.topic_name(&id);
    let function = parts.start(&[("RESULTS", &topic)]).await;
    assert_eq!(send(&function, "k").await.0, 503);
    assert_eq!(parts.entries().await, [""; 0]);
    let (_, subscription) = parts.bus.create_topic_and_subscription(&id).await;
    let other = parts.start(&[("RESULTS", &topic)]).await;
    assert_eq!(send(&other, "k").await.0, 204);
    assert_eq!(parts.bus.pull_one(&subscription).await.attribute("ce-id"), "k");
    // What is refused before it is worked on costs no call.
    parts.gate.take_calls();
    assert_eq!(function.push("{\"input\": 1}", &[("idempotency-key", "bad")]).await.0, 422);
    assert_eq!(parts.gate.take_calls(), []);
}

#[tokio::test]
async fn a_sender_that_goes_away_leaves_one_result_and_no_claim_to_wait_for() {
    let Some(parts) = Parts::new().await else { return };
    let function = parts.start(&[]).await;
    for n in 0..20 {
        let key = format!("gone-{n}");
        let body = tests::wrapped("a text ".repeat(n * 5 + 1), &[("idempotency-key", &key)]).to_string();
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client.post(function.url("/")).header("content-type", "application/json").body(body);
        let request = tokio::spawn(request.send());
        parts.wait_for(&format!("embed/claim/{key}")).await;
        request.abort();
        let _ = request.await;
        send_until_done(&function, &key).await;
    }
    assert_eq!(parts.results().await.len(), 20);
}

#[tokio::test]
async fn while_the_bucket_fails_nothing_is_lost_and_what_is_known_is_answered() {
    let Some(parts) = Parts::new().await else { return };
    let function = Arc::new(parts.start(&[]).await);
    assert_eq!(send(&function, "before").await.0, 204);
    parts.gate.answer_with(503);
    let refused = tokio::spawn({
        let function = Arc::clone(&function);
        async move { send(&function, "during").await }
    });
    assert_eq!(send(&function, "before").await.0, 204);
    let (status, body) = tokio::time::timeout(TIMEOUT, refused).await.expect("it ends").unwrap();
    assert_eq!((status, body["outcome"].as_str()), (503, Some("retry")), "{body}");
    assert!(!body.to_string().contains(&parts.bucket), "{body}");
    assert_eq!(function.metric("batch_messages_sum").await, Some(1.0));
    parts.gate.answer_with(0);
    assert_eq!(send(&function, "during").await.0, 204);

    // A short fault is not even noticed.
    parts.gate.answer_with(429);
    parts.gate.take_calls();
    let patient = tokio::spawn({
        let function = Arc::clone(&function);
        async move { send(&function, "short").await }
    });
    while parts.gate.take_calls().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    parts.gate.answer_with(0);
    assert_eq!(patient.await.unwrap().0, 204);
    assert_eq!(parts.results().await.len(), 3);
}

/// `e2e ledger --ignored --nocapture`: what the ledger costs in calls, time and throughput.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "a measurement"]
async fn what_it_costs() {
    // Few, and each run on a server of its own: a write to fake-gcs-server takes longer the more objects there are.
    const MESSAGES: usize = 640;
    let Some(parts) = Parts::new().await else { return };
    for (clients, direct) in [(1, true), (64, true), (1, false)] {
        for ledger in ["off", "on"] {
            let Some(storage) = Storage::start() else { return };
            storage.create_bucket("measured").await;
            let gate = Gate::open(&storage).await;
            let location = if ledger == "off" { "off" } else { "gs://measured/ledger/" };
            let host = if direct { storage.host() } else { gate.host() };
            let function = parts.start(&[("LEDGER", location), ("STORAGE_EMULATOR_HOST", host)]).await;
            let function = Arc::new(function);
            let start = Instant::now();
            let clients: Vec<_> = (0..clients)
                .map(|client| {
                    let function = Arc::clone(&function);
                    let http = reqwest::Client::builder().no_proxy().build().unwrap();
                    tokio::spawn(async move {
                        let mut times = Vec::new();
                        for n in 0..MESSAGES / clients {
                            let key = format!("{client}-{n}");
                            let body = tests::wrapped("a short text", &[("idempotency-key", &key)]).to_string();
                            let request = http.post(function.url("/")).header("content-type", "application/json");
                            let start = Instant::now();
                            let answer = request.body(body).send().await.unwrap();
                            assert_eq!(answer.status(), 204);
                            times.push(start.elapsed());
                        }
                        times
                    })
                })
                .collect();
            let count = clients.len();
            let mut times = Vec::new();
            for client in clients {
                times.extend(client.await.unwrap());
            }
            let seconds = start.elapsed().as_secs_f64();
            times.sort();
            let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
            println!(
                "{count} at once, ledger {ledger}: {:.0} messages/s, p50 {:?}, p99 {:?}, calls a message {}",
                times.len() as f64 / seconds,
                at(0.5),
                at(0.99),
                if direct { "-".to_owned() } else { (gate.take_calls().len() as f64 / times.len() as f64).to_string() },
            );
        }
    }
}
