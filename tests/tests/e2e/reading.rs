//! What producers send by mistake, and what other systems put around it: read as meant, or refused with a reason,
//! never read as something else.

use std::convert::Infallible;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tests::{Function, command, unique, wrapped, xtask};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const MARK: &str = "\u{feff}";
const JSON: [(&str, &str); 1] = [("content-type", "application/json")];
const STRUCTURED: [(&str, &str); 1] = [("content-type", "application/cloudevents+json")];
const BATCH: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];

fn event(members: &Value) -> Value {
    let mut event = json!({"specversion": "1.0", "id": "17", "source": "//test", "type": "com.example.text"});
    event.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    event
}

async fn answer(function: &Function, headers: &[(&str, &str)], body: impl Into<reqwest::Body>) -> (u16, Value) {
    let answer = function.post(headers, body).await;
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

#[track_caller]
fn assert_rejected((status, body): &(u16, Value), reason: &str, says: &[&str]) {
    assert_eq!((*status, &body["outcome"]), (422, &json!("rejected")), "{body}");
    assert_eq!(body["type"], format!("urn:ai-workloads:problem:{reason}"), "{body}");
    for words in says {
        assert!(body["detail"].as_str().unwrap().contains(words), "{words:?} is not in {body}");
    }
}

#[tokio::test]
async fn a_byte_order_mark_changes_nothing() {
    let function = Function::start(&[]).await;
    for payload in ["hello", r#"{"input": "hello", "dimensions": 8}"#, ""] {
        let plain = function.push(payload, &[]).await;
        assert_eq!(plain.0, 200, "{payload}");
        let marked = format!("{MARK}{payload}");
        assert_eq!(function.push(&marked, &[]).await, plain, "{payload}");
        assert_eq!(function.push(format!("{MARK}{marked}"), &[]).await, plain, "{payload}");
        for members in
            [json!({"data": marked}), json!({"data": marked, "datacontenttype": "text/plain; charset=utf-8"})]
        {
            let body = format!("{MARK}{}", event(&members));
            assert_eq!(answer(&function, &STRUCTURED, body).await, plain, "{payload}");
        }
        assert_eq!(answer(&function, &JSON, format!("{MARK}{}", wrapped(&marked, &[]))).await, plain, "{payload}");
        let unwrapped = [("x-goog-pubsub-message-id", "17")];
        assert_eq!(answer(&function, &unwrapped, marked.clone()).await, plain, "{payload}");
        let batch = format!("{MARK}{}\r\n", json!([event(&json!({"data": marked}))]));
        assert_eq!(answer(&function, &BATCH, batch).await.1[0]["data"], plain.1, "{payload}");
    }
}

#[tokio::test]
async fn what_is_meant_as_json_and_is_none_is_rejected_with_its_place() {
    let function = Function::start(&[]).await;
    for (payload, says) in [
        (r#"{"input": "hello"#, "line 1 column 16"),
        (r#"{"input": "hello",}"#, "trailing comma"),
        (r#"{"input": "hello"} {"input": "you"}"#, "trailing characters"),
        (r#"{"input": "hello", "score": NaN}"#, "line 1 column 29"),
        ("{'input': 'hello', 'user': None}", "line 1 column 2"),
        ("{input: \"hello\"}", "line 1 column 2"),
        (r#"{\"input\": \"hello\"}"#, "line 1 column 2"),
        ("\r\n {", "line 2 column 2"),
    ] {
        assert_rejected(&function.push(payload, &[]).await, "bad-payload", &[says, "text/plain", "{\"input\": "]);
        assert_rejected(&function.push(payload, &[("task", "rerank")]).await, "bad-payload", &[says]);
        // Declared as text it is one.
        let text = event(&json!({"data": payload, "datacontenttype": "text/plain"}));
        let (status, body) = answer(&function, &STRUCTURED, text.to_string()).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(function.push(payload, &[("content-type", "text/plain")]).await, (200, body), "{payload}");
    }
    for payload in ["{{name}}, your order", "{name} is missing", "[1, 2", "\"half", "NaN", "{% if x %}"] {
        assert_eq!(function.push(payload, &[]).await.0, 200, "{payload}");
    }
    let wide: Vec<u8> = r#"{"input": "hello"}"#.encode_utf16().flat_map(u16::to_be_bytes).collect();
    assert_rejected(&function.push(wide, &[]).await, "bad-payload", &["UTF-16", "UTF-8"]);
    assert_rejected(&function.push(b"\x1f\x8b\x08\0\0\0\0\0", &[]).await, "bad-payload", &["gzip"]);
}

/// For every field of every task's payload that may be left out, `null` is as good as leaving it out; where it may
/// not, and where the type is another, the error names the field.
#[tokio::test]
async fn null_is_not_set_and_errors_name_the_field() {
    let function = Function::start(&[]).await;
    let labels = json!(["billing", "bug"]);
    for (task, payload, optional) in [
        ("embed", json!({"input": ["a", "b"]}), &["dimensions", "encoding_format", "other"][..]),
        ("classify", json!({"input": "a", "labels": labels}), &["multi_label"]),
        ("classify", json!({"input": "a"}), &["labels", "multi_label"]),
        ("rerank", json!({"query": "a", "documents": ["a", "b"]}), &["top_n"]),
    ] {
        let plain = function.push(payload.to_string(), &[("task", task)]).await;
        assert_eq!(plain.0, 200, "{}", plain.1);
        for chosen in 1..1 << optional.len() {
            let mut with = payload.clone();
            for field in optional.iter().enumerate().filter(|(n, _)| chosen >> n & 1 == 1).map(|(_, field)| field) {
                with[field] = Value::Null;
            }
            assert_eq!(function.push(with.to_string(), &[("task", task)]).await, plain, "{with}");
        }
    }
    for (task, payload, says) in [
        ("embed", json!({"input": null}), &["`input`", "null", "a text or an array of texts"][..]),
        ("embed", json!({"input": ["a", "b", "c", 5]}), &["`input[3]`", "integer `5`", "a string"]),
        ("embed", json!({"input": ["a", null]}), &["`input[1]`", "null"]),
        ("embed", json!({"input": "a", "dimensions": "8"}), &["`dimensions`", "string \"8\"", "a whole number"]),
        ("embed", json!({"input": "a", "dimensions": -1}), &["`dimensions`", "integer `-1`", "a whole number"]),
        ("embed", json!({"input": "a", "dimensions": 8.5}), &["`dimensions`", "a whole number"]),
        ("embed", json!({"input": "a", "encoding_format": "hex"}), &["`encoding_format`", "`base64`", "hex"]),
        ("classify", json!({"input": "a", "labels": ["a", "b", null]}), &["`labels[2]`", "null"]),
        ("classify", json!({"input": "a", "labels": "a"}), &["`labels`", "an array of texts"]),
        ("classify", json!({"input": "a", "multi_label": "true"}), &["`multi_label`", "a boolean"]),
        ("rerank", json!({"query": null, "documents": ["a"]}), &["`query`", "null"]),
        ("rerank", json!({"query": "a", "documents": null}), &["`documents`", "null"]),
        ("rerank", json!({"query": "a", "documents": ["a"], "top_n": "1"}), &["`top_n`", "a whole number"]),
    ] {
        assert_rejected(&function.push(payload.to_string(), &[("task", task)]).await, "bad-payload", says);
    }
    let (status, body) = function.push("x", &[("task", "clasify")]).await;
    assert_rejected(&(status, body), "unknown-task", &["did you mean `classify`?", "embed, classify, rerank"]);
}

#[tokio::test]
async fn a_body_that_is_encoded_is_415_with_what_is_taken() {
    let function = Function::start(&[]).await;
    let push = wrapped("hello", &[]).to_string();
    let event = event(&json!({"data": "hello"})).to_string();
    for (headers, body) in
        [(&JSON[..], push.clone()), (&STRUCTURED, event), (&[("x-goog-pubsub-message-id", "1")], "hello".to_owned())]
    {
        for coding in ["gzip", "br", "identity, gzip", "GZIP"] {
            let answer = function.post(&[headers, &[("content-encoding", coding)]].concat(), body.clone()).await;
            assert_eq!(answer.status(), 415, "{coding}");
            assert_eq!(answer.headers()["accept-encoding"], "identity");
            assert_eq!(answer.headers()["content-type"], "application/problem+json");
            let problem: Value = answer.json().await.unwrap();
            assert!(problem["detail"].as_str().unwrap().contains("identity"), "{problem}");
            assert_eq!((&problem["status"], &problem["outcome"]), (&json!(415), &json!("rejected")));
        }
        for coding in ["identity", "Identity", "", "identity, identity"] {
            let answer = function.post(&[headers, &[("content-encoding", coding)]].concat(), body.clone()).await;
            assert_eq!(answer.status(), 200, "{coding:?}");
        }
    }
    assert_eq!(function.metric("refused_requests_total{status=\"415\"}").await, Some(12.0));
}

/// A body with a declared length that never sends a byte.
struct Announced(u64);

impl Body for Announced {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0)
    }
}

/// Never ends, and so fails, if the function waits for a byte of the body.
#[tokio::test]
async fn a_length_beyond_the_bound_is_refused_before_a_byte_of_the_body() {
    let function = Function::start(&[("MAX_BODY_BYTES", "1000")]).await;
    let url = function.url("");
    let address = url.strip_prefix("http://").unwrap();
    for more in ["", "expect: 100-continue\r\n"] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1001\r\n{more}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        assert!(text.starts_with("HTTP/1.1 413 "), "{text}");
        assert!(text.contains("application/problem+json") && text.contains("at most 1000 bytes"), "{text}");
        assert!(!text.contains("100 Continue"), "{text}");
    }
    // Clients that look for the answer when they have sent everything see it, too.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5000000\r\n\r\n").await.unwrap();
    for _ in 0..50 {
        stream.write_all(&[b' '; 100_000]).await.unwrap();
    }
    let mut start = [0; 12];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 413");
    // One that fits is waited for.
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\nexpect: 100-continue\r\n\r\n")
        .await
        .unwrap();
    let mut start = [0; 21];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 100 Continue");

    let stream = TcpStream::connect(address).await.unwrap();
    let connection = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
    let (mut sender, connection) = connection.unwrap();
    let connection = tokio::spawn(connection);
    let request = http::Request::post(url.as_str()).body(Announced(1001)).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), 413);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    connection.abort();
}

#[tokio::test]
async fn a_request_that_is_no_event_says_what_it_looks_like() {
    let function = Function::start(&[]).await;
    for body in [r#"{"input": "hello"}"#, "hello", "[1]", "", r#"{"message": "a line"}"#] {
        let (status, problem) = answer(&function, &JSON, body).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains("`writeMetadata`"), "{problem}");
    }
    let id = json!({"message": {"messageId": 17, "data": "aGk="}}).to_string();
    let (_, problem) = answer(&function, &JSON, id).await;
    assert!(problem["detail"].as_str().unwrap().contains("`message.messageId`: "), "{problem}");

    let good = event(&json!({"data": "hello"}));
    let bad = event(&json!({"id": "e2", "data_base64": "?"}));
    let rejected = event(&json!({"id": "e3", "data": "{\"input\": 5}"}));
    let (status, entries) = answer(&function, &BATCH, json!([good, bad, 7, rejected]).to_string()).await;
    assert_eq!(status, 422, "{entries}");
    let of = |n: usize| (&entries[n]["status"], &entries[n]["index"], &entries[n]["message_id"]);
    assert_eq!(of(1), (&json!(400), &json!(1), &json!("e2")), "{entries}");
    assert_eq!(of(2), (&json!(400), &json!(2), &Value::Null), "{entries}");
    assert_eq!(of(3), (&json!(422), &json!(3), &json!("e3")), "{entries}");
    assert_eq!(entries[0]["specversion"], "1.0");
    let detail = entries[1]["detail"].as_str().unwrap();
    assert!(detail.contains("event [1]") && detail.contains("\"e2\"") && detail.contains("`data_base64`"), "{detail}");
}

#[tokio::test]
async fn a_task_s_name_that_no_task_has_is_refused_at_the_start_and_in_the_plan() {
    let folder = std::env::temp_dir().join(format!("{}-{}", unique("tasks"), std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("topology.toml").display().to_string();
    let route = |task: &str| format!("[[services.s.routes]]\nfilter = 'attributes:a'\ntask = \"{task}\"\n");
    for (declaration, says, planned) in [
        ("task = \"embd\"\n".to_owned(), "did you mean `embed`?", false),
        ("task = \"translate\"\n".to_owned(), "`classify`", false),
        (route("clasify"), "did you mean `classify`?", false),
        // The program's own, and this program has none.
        ("tasks = [\"redact\"]\ntask = \"redact\"\n".to_owned(), "no such task; it has: embed, classify, rerank", true),
    ] {
        std::fs::write(&path, format!("[services.s]\n{declaration}")).unwrap();
        let output = command(&[("TOPOLOGY", &path), ("PORT", "0")]).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{declaration}: {text}");
        assert!(text.contains(&format!("TOPOLOGY is `{path}`")) && text.contains(says), "{declaration}: {text}");
        let plan = xtask(&["plan", "--offline", "--topology", &path], &[]);
        if planned {
            let _ = plan.ok();
        } else {
            let _ = plan.failed(1, says);
        }
    }
    // What an editor or a shell of another system makes of a declaration.
    std::fs::write(&path, format!("{MARK}[services.s]\r\ntask = \"classify\"\r\nlabels = [\"a\"]\r\n")).unwrap();
    let function = Function::start(&[("TOPOLOGY", &path)]).await;
    assert_eq!(function.push("hello", &[]).await.1["data"][0]["label"], "a");
    let _ = xtask(&["plan", "--offline", "--topology", &path], &[]).ok();
    let wide: Vec<u8> = "\u{feff}[services.s]\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    std::fs::write(&path, wide).unwrap();
    let output = command(&[("TOPOLOGY", &path)]).stderr(Stdio::piped()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && text.contains("UTF-16"), "{text}");
    let _ = xtask(&["plan", "--offline", "--topology", &path], &[]).failed(1, "UTF-16");
    std::fs::remove_dir_all(folder).unwrap();
}

/// A file as PowerShell and spreadsheets write it, through the verb and the local Pub/Sub.
#[tokio::test]
async fn a_file_with_a_byte_order_mark_and_nulls_is_published_as_meant() {
    let pubsub = tests::Bus::shared();
    let topic = pubsub.create_topic(&unique("marked")).await;
    let subscription = pubsub.create_pull(&unique("marked"), &topic).await;
    let file = std::env::temp_dir().join(format!("{}-{}.ndjson", unique("marked"), std::process::id()));
    let line = r#"{"data": "hello", "attributes": {"kind": "ticket", "note": null}, "orderingKey": null}"#;
    std::fs::write(&file, format!("{MARK}{line}\r\n{line}\r\n")).unwrap();
    let variables =
        [("PUBSUB_EMULATOR_HOST", pubsub.host().to_owned()), ("GOOGLE_CLOUD_PROJECT", pubsub.project().to_owned())];
    let _ = xtask(&["publish", "--topic", &topic, "--file", &file.display().to_string()], &variables).ok();
    for message in pubsub.pull(&subscription, 2, Duration::from_secs(20)).await {
        assert_eq!((&message.data[..], message.attribute("kind")), (&b"hello"[..], "ticket"));
    }
    std::fs::remove_file(file).unwrap();
}
