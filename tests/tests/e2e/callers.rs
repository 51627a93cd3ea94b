//! Access to the built binary: tokens, limits and logs.

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Bus, Endpoint, Function, command, free_port, unique, wrapped};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const AUDIENCE: &str = "https://service.example.com/";
const CALLER: &str = "push@project.iam.gserviceaccount.com";

/// A push subscription to this address whose pushes carry this account's token for this audience.
async fn push(bus: &Bus, endpoint: &str, email: &str, audience: &str) -> String {
    let id = unique("callers");
    let topic = bus.create_topic(&id).await;
    let token = json!({"serviceAccountEmail": email, "audience": audience});
    let push = json!({"pushConfig": {"pushEndpoint": endpoint, "oidcToken": token}});
    bus.create_subscription(&id, &topic, push).await;
    topic
}

/// The `Authorization` header of such a push.
async fn authorization(bus: &Bus, email: &str, audience: &str) -> String {
    let mut endpoint = Endpoint::start(|_| 204).await;
    let topic = push(bus, endpoint.url(), email, audience).await;
    bus.publish(&topic, b"x", &[]).await;
    endpoint.next().await.header("authorization").to_owned()
}

async fn guarded(keys: &str) -> Function {
    Function::start(&[("AUTH_AUDIENCE", AUDIENCE), ("AUTH_EMAILS", CALLER), ("AUTH_KEYS_URL", keys)]).await
}

/// Posts an event with this header; returns the status, and the last part of the problem's type.
async fn post(function: &Function, authorization: &str) -> (u16, String) {
    let headers = [("authorization", authorization)];
    let headers = if authorization.is_empty() { &[][..] } else { &headers };
    let answer = function.post(headers, wrapped("hello", &[]).to_string()).await;
    let status = answer.status().as_u16();
    let body: Value = answer.json().await.unwrap();
    (status, body["type"].as_str().unwrap_or_default().rsplit(':').next().unwrap_or_default().to_owned())
}

const DONE: &str = "messages_total{task=\"embed\",outcome=\"done\"}";

#[tokio::test]
async fn a_push_subscription_s_token_lets_in_and_nothing_else_does() {
    let bus = Bus::start();
    let keys = format!("http://{}/oauth2/v3/certs", bus.host());
    let function = guarded(&keys).await;

    let topic = push(&bus, &function.url("/"), CALLER, AUDIENCE).await;
    bus.publish(&topic, b"hello", &[]).await;
    while function.metric(DONE).await != Some(1.0) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    let good = authorization(&bus, CALLER, AUDIENCE).await;
    let (head, signature) = good.rsplit_once('.').unwrap();
    let first = if signature.starts_with('A') { "B" } else { "A" };
    let (unauthorized, forbidden) = ((401, "unauthorized".to_owned()), (403, "forbidden".to_owned()));
    for (what, authorization, expected) in [
        ("none", String::new(), &unauthorized),
        ("no token", "Bearer x".into(), &unauthorized),
        ("another audience", authorization(&bus, CALLER, "https://other.example.com/").await, &unauthorized),
        ("another account", authorization(&bus, "other@project.iam.gserviceaccount.com", AUDIENCE).await, &forbidden),
        ("a changed signature", format!("{head}.{first}{}", &signature[1..]), &unauthorized),
    ] {
        assert_eq!(&post(&function, &authorization).await, expected, "{what}");
    }
    // Nobody's message but the first was worked on.
    assert_eq!(function.metric(DONE).await, Some(1.0));
    assert_eq!(function.metric("refused_requests_total{status=\"401\"}").await, Some(4.0));
    assert_eq!(function.metric("refused_requests_total{status=\"403\"}").await, Some(1.0));

    // Without the keys' server, known keys go on and unknown ones are for later.
    drop(bus);
    assert_eq!(post(&function, &good).await.0, 200);
    let late = guarded(&keys).await;
    assert_eq!(post(&late, &good).await, (503, "no-keys".to_owned()));
    assert_eq!(late.metric(DONE).await, None);
}

/// What the server answers to these bytes until it closes the connection.
async fn raw(function: &Function, request: &[u8]) -> String {
    let address = function.url("");
    let mut stream = TcpStream::connect(address.strip_prefix("http://").unwrap()).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    // The server may answer and close before it has read everything.
    let write = async {
        let _ = writer.write_all(request).await;
        std::future::pending::<()>().await;
    };
    let mut answer = Vec::new();
    tokio::select! {
        () = write => {}
        _ = reader.read_to_end(&mut answer) => {}
    }
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn what_is_too_much_is_refused_with_its_status() {
    let function = Function::start(&[("MAX_BODY_BYTES", "200000")]).await;
    let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n";
    let many: String = (0..200).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(70_000));
    for headers in [many, long] {
        let answer = raw(&function, format!("{head}{headers}content-length: 0\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let answer = raw(&function, format!("GET /{} HTTP/1.1\r\n", "x".repeat(70_000)).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 414 ") || answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let json_type = [("content-type", "application/json")];
    let batch_type = [("content-type", "application/cloudevents-batch+json")];
    let attributes: Vec<(String, String)> = (0..101).map(|n| (format!("a{n}"), "x".into())).collect();
    let attributes: Vec<(&str, &str)> = attributes.iter().map(|(name, value)| (&**name, &**value)).collect();
    let long = "x".repeat(1025);
    let deep = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let event = r#"{"specversion":"1.0","id":"1","source":"/s","type":"t","data":"x"}"#;
    for (what, headers, body, status, kind) in [
        ("body", &json_type, "x".repeat(200_001), 413, "body-too-large"),
        ("attributes", &json_type, wrapped("x", &attributes).to_string(), 400, "too-many-attributes"),
        ("attribute", &json_type, wrapped("x", &[("a", &long)]).to_string(), 400, "too-long"),
        ("events", &batch_type, format!("[{}]", vec![event; 1001].join(",")), 400, "too-many-events"),
        ("depth", &json_type, format!("{{\"message\":{{\"attributes\":{}}}}}", deep(50_000)), 400, "wrong-shape"),
    ] {
        let answer = function.post(headers, body).await;
        assert_eq!(answer.status().as_u16(), status, "{what}");
        let body: Value = answer.json().await.unwrap();
        assert_eq!(body["type"], format!("urn:ai-workloads:problem:{kind}"), "{what}: {body}");
    }
    let texts = |count: usize| json!(vec!["x"; count]);
    // A hundred attributes are headers of an unwrapped push.
    let names: Vec<String> = (0..100).map(|n| format!("attribute-{n}")).collect();
    let mut unwrapped: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    unwrapped.push(("x-goog-pubsub-message-id", "17"));
    assert_eq!(function.post(&unwrapped, "hello").await.status(), 200);
    for (what, task, data) in [
        ("texts", "embed", json!({"input": texts(2049)}).to_string()),
        ("labels", "classify", json!({"input": "x", "labels": texts(2049)}).to_string()),
        ("documents", "rerank", json!({"query": "x", "documents": texts(2049)}).to_string()),
        ("depth", "embed", format!("{{\"input\": {}}}", deep(50_000))),
        ("result", "classify", json!({"input": texts(2048), "labels": texts(2048)}).to_string()),
    ] {
        let (status, body) = function.push(data, &[("task", task)]).await;
        assert_eq!((status, &body["type"]), (422, &json!("urn:ai-workloads:problem:bad-payload")), "{what}: {body}");
    }
    // A field that is not read may be nested to any depth.
    let ignored = format!("{{\"input\": \"x\", \"more\": {}}}", deep(50_000));
    assert_eq!(function.push(ignored, &[]).await.0, 200);
}

/// The binary with its log in a pipe.
struct Logged {
    child: Child,
    url: String,
}

impl Logged {
    async fn start(mut command: Command) -> Self {
        let port = free_port().to_string();
        let child = command.env("PORT", &port).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let url = format!("http://127.0.0.1:{port}/");
        while !reqwest::get(format!("{url}health/ready")).await.is_ok_and(|answer| answer.status() == 200) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Self { child, url }
    }

    /// Ends it; returns what it printed and what it logged.
    fn end(mut self) -> [String; 2] {
        assert!(Command::new("kill").arg(self.child.id().to_string()).status().unwrap().success());
        let [mut printed, mut logged] = [String::new(), String::new()];
        self.child.stdout.take().unwrap().read_to_string(&mut printed).unwrap();
        self.child.stderr.take().unwrap().read_to_string(&mut logged).unwrap();
        self.child.wait().unwrap();
        [printed, logged]
    }
}

/// Text that would add lines, colours and fields to the log if it were not escaped.
const EVIL: &str = "x\n2026-11-24T00:00:00Z ERROR forged\r\u{1b}[31m\u{85}\u{202e}\"}\n{\"severity\":\"ERROR\"";
const SECRET: &str = "a secret text of a message";

#[tokio::test]
async fn nothing_from_outside_steers_the_log_and_nothing_secret_is_in_it() {
    for format in ["text", "json"] {
        let keys = Bus::shared();
        let url = format!("http://{}/oauth2/v3/certs", keys.host());
        let function = Logged::start(command(&[("LOG_FORMAT", format), ("RUST_LOG", "debug")])).await;
        let guarded = Logged::start(command(&[
            ("LOG_FORMAT", format),
            ("RUST_LOG", "debug"),
            ("AUTH_AUDIENCE", AUDIENCE),
            ("AUTH_EMAILS", CALLER),
            ("AUTH_KEYS_URL", &url),
        ]))
        .await;
        let client = reqwest::Client::new();
        let mut body = wrapped(SECRET, &[("task", EVIL), (EVIL, EVIL), ("password", SECRET)]);
        body["message"]["messageId"] = json!(EVIL);
        body["subscription"] = json!(EVIL);
        let unknown_task = client.post(&function.url).body(body.to_string()).send().await.unwrap();
        assert_eq!(unknown_task.status(), 422);
        let mut answers = vec![unknown_task.text().await.unwrap()];
        body["message"]["attributes"] = json!({"password": SECRET});
        assert_eq!(client.post(&function.url).body(body.to_string()).send().await.unwrap().status(), 200);
        for event in [json!({"message": EVIL}), json!({"message": {"messageId": "1", "data": EVIL}})] {
            let answer = client.post(&function.url).body(event.to_string()).send().await.unwrap();
            assert_eq!(answer.status(), 400);
            answers.push(answer.text().await.unwrap());
        }
        let token = authorization(keys, "other@project.iam.gserviceaccount.com", AUDIENCE).await;
        for authorization in [&token, "Basic dXNlcjpodW50ZXIy"] {
            let request = client.post(&guarded.url).header("authorization", authorization).body(SECRET);
            answers.push(request.send().await.unwrap().text().await.unwrap());
        }
        let metrics = reqwest::get(format!("{}metrics", function.url)).await.unwrap().text().await.unwrap();

        let signature = token.rsplit('.').next().unwrap();
        let ([printed, logged], [guarded_printed, guarded_logged]) = (function.end(), guarded.end());
        let logs = [&printed, &logged, &guarded_printed, &guarded_logged];
        for text in logs {
            assert!(!text.contains(['\r', '\u{1b}', '\u{85}', '\u{202e}']), "{text:?}");
        }
        for text in logs.into_iter().chain([&metrics]).chain(&answers) {
            // The path of a source file, a folder of this machine, a panic.
            let internals = [".rs:", env!("CARGO_MANIFEST_DIR"), "panicked"];
            for hidden in [SECRET, signature, "dXNlcjpodW50ZXIy", "hunter2"].into_iter().chain(internals) {
                assert!(!text.contains(hidden), "{hidden} in {text}");
            }
        }
        assert!(logged.contains("forged"), "the message's id is in its line: {logged}");
        for line in logged.lines().chain(guarded_logged.lines()) {
            match format {
                "json" => {
                    let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
                    assert!(line["severity"] != "ERROR" && line["time"].is_string(), "{line}");
                }
                _ => {
                    let level = line.split_whitespace().nth(1).unwrap_or_default();
                    assert!(line.starts_with("20") && ["DEBUG", "INFO", "WARN"].contains(&level), "{line}");
                }
            }
        }
    }
}

/// As in a container whose file system is read-only and that has nothing but the binary.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn it_writes_no_file_and_starts_no_process() {
    let folder = std::env::temp_dir().join(unique(&format!("callers-{}", std::process::id())));
    std::fs::create_dir(&folder).unwrap();
    let plain = command(&[]);
    // Whoever writes to a file under this limit is killed; pipes and sockets have none.
    let mut limited = Command::new("/bin/sh");
    limited.args(["-c", "ulimit -f 0; exec \"$0\""]).arg(plain.get_program());
    limited.env_clear().env("TMPDIR", &folder).env("HOME", &folder).current_dir(&folder).stdin(Stdio::null());
    let function = Logged::start(limited).await;
    let client = reqwest::Client::new();
    for (body, status) in [(wrapped("hello", &[]), 200), (wrapped("hello", &[("task", "none")]), 422), (json!({}), 400)]
    {
        let answer = client.post(&function.url).body(body.to_string()).send().await.unwrap();
        assert_eq!(answer.status(), status);
    }
    let id = function.child.id();
    let children = std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap();
    assert_eq!(children, "");
    function.end();
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    std::fs::remove_dir(&folder).unwrap();
}
