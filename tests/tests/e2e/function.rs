//! The built binary, over HTTP: events of every form, the three tasks, outcomes, start and end.

use std::process::{Command, Stdio};
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};
use tests::{Function, PubSub, command, unique, wrapped};

on_every_pubsub!(a_thousand_messages_of_mixed_tasks_are_results_or_dead_letters);

const REFERENCE: &str = include_str!("reference.json");

fn embedding(body: &Value) -> Vec<f32> {
    let numbers = body["data"][0]["embedding"].as_array();
    let numbers = numbers.unwrap_or_else(|| panic!("no embedding in {body}"));
    numbers.iter().map(|n| n.as_f64().unwrap() as f32).collect()
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[tokio::test]
async fn every_form_gives_the_embedding_of_the_float32_model() {
    let function = Function::start(&[]).await;
    let references: Vec<Value> = serde_json::from_str(REFERENCE).unwrap();
    for reference in &references {
        let text = reference["text"].as_str().unwrap();
        let expected: Vec<f32> = serde_json::from_value(reference["embedding"].clone()).unwrap();
        let pubsub = "google.cloud.pubsub.topic.v1.messagePublished";
        let push = wrapped(text, &[]);
        let event = |kind: &str, field: &str, data: Value| json!({"specversion": "1.0", "id": "17", "source": "//test", "type": kind, field: data});
        let structured = event(pubsub, "data", push.clone()).to_string();
        let other = event("com.example.text", "data_base64", json!(BASE64_STANDARD.encode(text)));
        let binary = [
            ("ce-specversion", "1.0"),
            ("ce-id", "17"),
            ("ce-source", "//test"),
            ("ce-type", pubsub),
            ("content-type", "application/json; charset=utf-8"),
        ];
        let json_type = [("content-type", "application/json")];
        let event_type = [("content-type", "application/cloudevents+json")];
        let unwrapped = [("x-goog-pubsub-message-id", "17"), ("content-type", "text/plain")];
        let mut embeddings = Vec::new();
        for (form, headers, body) in [
            ("wrapped", &json_type[..], push.to_string()),
            ("binary", &binary, push.to_string()),
            ("structured", &event_type, structured),
            ("unwrapped", &unwrapped, text.to_owned()),
            ("other CloudEvent", &event_type, other.to_string()),
        ] {
            let answer = function.post(headers, body).await;
            assert_eq!(answer.status(), 200, "{form}");
            assert_eq!(answer.headers()["ce-type"], "ai.workloads.embed.completed.v1", "{form}");
            embeddings.push(embedding(&answer.json().await.unwrap()));
        }
        let batch = json!([event(pubsub, "data", push), other]).to_string();
        let batch_type = [("content-type", "application/cloudevents-batch+json")];
        let answer: Value = function.post(&batch_type, batch).await.json().await.unwrap();
        for entry in answer.as_array().unwrap() {
            embeddings.push(embedding(&entry["data"]));
        }
        assert_eq!(embeddings.len(), 7);
        for own in &embeddings {
            assert_eq!(own, &embeddings[0], "{text}");
        }
        let close = cosine(&embeddings[0], &expected);
        assert!(close > 0.985, "{text}: cosine {close}");
    }
}

#[tokio::test]
async fn the_printed_command_works_when_pasted() {
    let function = Function::start(&[]).await;
    if Command::new("curl").arg("--version").stdout(Stdio::null()).status().is_err() {
        println!("skipped: curl is not installed");
        return;
    }
    let answer = Command::new("sh").args(["-c", function.example()]).output().unwrap();
    let body: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!((embedding(&body).len(), &body["model"]), (384, &json!("all-MiniLM-L6-v2")));
}

#[tokio::test]
async fn tasks_give_sensible_results() {
    let function = Function::start(&[]).await;
    let payload = json!({"input": ["I was charged twice this month", "The app crashes when I open it"],
        "labels": ["billing", "bug report", "shipping"]});
    let (status, body) = function.push(payload.to_string(), &[("task", "classify")]).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!((&body["data"][0]["label"], &body["data"][1]["label"]), (&json!("billing"), &json!("bug report")));
    let sum: f64 = body["data"][0]["scores"].as_array().unwrap().iter().map(|s| s["score"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-4);

    let payload = json!({"query": "how do I cook rice?", "top_n": 2,
        "documents": ["Shares fell on Monday.", "Rinse the grains and simmer them in water.", "Pasta recipes"]});
    let (status, body) = function.push(payload.to_string(), &[("task", "rerank")]).await;
    assert_eq!((status, &body["results"][0]["index"]), (200, &json!(1)), "{body}");
    assert_eq!(body["results"].as_array().unwrap().len(), 2);

    let payload = json!({"input": ["a", "b"], "dimensions": 8, "encoding_format": "base64"});
    let (_, body) = function.push(payload.to_string(), &[]).await;
    let bytes = BASE64_STANDARD.decode(body["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let vector: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert!(vector.len() == 8 && (cosine(&vector, &vector) - 1.0).abs() < 1e-5);

    // The shipped topology routes tickets to `classify`, with the labels that it declares.
    let (_, body) = function.push("please refund the invoice", &[("kind", "ticket"), ("task", "embed")]).await;
    assert_eq!(body["data"][0]["label"], "billing", "{body}");
}

#[tokio::test]
async fn what_cannot_be_done_is_a_problem_that_says_why() {
    let function = Function::start(&[]).await;
    for (data, attributes, reason, word) in [
        ("x", &[("task", "translate")][..], "unknown-task", "embed, classify, rerank"),
        ("{\"input\": 5}", &[], "bad-payload", "array of texts"),
        ("{\"text\": \"x\"}", &[], "bad-payload", "input"),
        ("{\"input\": []}", &[], "bad-payload", "empty"),
        ("{\"input\": \"x\", \"dimensions\": 9999}", &[], "bad-payload", "384"),
        ("{\"query\": \"x\"}", &[("task", "rerank")], "bad-payload", "documents"),
    ] {
        let (status, body) = function.push(data, attributes).await;
        assert_eq!((status, &body["outcome"]), (422, &json!("rejected")), "{body}");
        assert_eq!(body["message_id"], "17");
        assert!(body["type"].as_str().unwrap().ends_with(reason), "{body}");
        assert!(body["detail"].as_str().unwrap().contains(word), "{body}");
    }
    // Braces alone make no JSON object.
    assert_eq!(function.push("{name} is a placeholder", &[]).await.0, 200);
    let (status, body) = function.push(b"\xff\xfe", &[]).await;
    assert_eq!((status, &body["outcome"]), (422, &json!("rejected")));
    for (body, status) in
        [("not an event".to_owned(), 400), ("{\"message\":".to_owned(), 400), ("x".repeat(16 << 20), 413)]
    {
        let answer = function.post(&[("content-type", "application/json")], body).await;
        assert_eq!(answer.status(), status);
        assert_eq!(answer.headers()["content-type"], "application/problem+json");
    }
    let large = json!({"input": "word ".repeat(1_900_000)}).to_string();
    let (status, body) = function.push(large, &[]).await;
    assert_eq!((status, &body["usage"]["total_tokens"]), (200, &json!(256)));
}

#[tokio::test]
async fn a_wrong_setting_ends_the_start_with_2_and_names_itself() {
    for (name, value, right) in [
        ("PORT", "http", "0 to 65535"),
        ("RESULTS", "topic", "gs://BUCKET/PREFIX/"),
        ("SERVICE", "nobody", "ai-workloads-function"),
        ("MODEL", "/nowhere", "model.safetensors"),
        ("TOPOLOGY", "/nowhere/topology.toml", "No such file"),
        ("DEAD_LETTER_TOPIC", "dead", "projects/"),
        ("AUTH_AUDIENCE", "me", "AUTH_EMAILS"),
        ("AUTH_EMAILS", "a@example.com", "AUTH_AUDIENCE"),
        ("AUTH_KEYS_URL", "http://127.0.0.1/keys", "AUTH_AUDIENCE"),
    ] {
        let output = command(&[(name, value)]).stderr(Stdio::piped()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{name}: {text}");
        assert!(text.contains(value) && text.contains(right), "{name}: {text}");
    }
}

/// A loop of results that are work again ends: the function counts how often a message has passed a service.
#[tokio::test]
async fn a_hop_limit_is_kept() {
    let pubsub = tests::Bus::shared();
    let (results, subscription) = pubsub.create_topic_and_subscription(&unique("results")).await;
    let folder = std::env::temp_dir().join(unique("hops"));
    std::fs::create_dir_all(&folder).unwrap();
    let topology = folder.join("topology.toml");
    std::fs::write(&topology, "[services.s]\nhop-limit = 2\n").unwrap();
    let function = Function::start(&[
        ("PUBSUB_EMULATOR_HOST", pubsub.host()),
        ("TOPOLOGY", topology.to_str().unwrap()),
        ("RESULTS", &results),
    ])
    .await;
    assert_eq!(function.push("first", &[("idempotency-key", "first")]).await.0, 204);
    assert_eq!(function.push("second", &[("idempotency-key", "second"), ("hop-count", "1")]).await.0, 204);
    let mut hops: Vec<String> = Vec::new();
    for result in pubsub.pull(&subscription, 2, Duration::from_secs(20)).await {
        hops.push(result.attribute("hop-count").to_owned());
    }
    hops.sort();
    assert_eq!(hops, ["1", "2"]);
    for count in ["2", "3", "many"] {
        let (status, problem) = function.push("third", &[("hop-count", count)]).await;
        assert_eq!((status, &problem["type"]), (422, &json!("urn:ai-workloads:problem:too-many-hops")), "{count}");
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn the_stop_signal_ends_it_in_good_order() {
    let function = Function::start(&[("RESULTS", "stdout")]).await;
    assert_eq!(function.push("the last words", &[]).await.0, 204);
    let (code, printed) = function.terminate();
    assert_eq!(code, Some(0));
    assert!(printed.contains("embedding"), "{printed}");
}

/// A push subscription, 1,000 messages of all tasks, one in ten of them hopeless: every one is a result or a dead
/// letter.
async fn a_thousand_messages_of_mixed_tasks_are_results_or_dead_letters(pubsub: &PubSub) {
    let (results, results_subscription) = pubsub.create_topic_and_subscription(&unique("results")).await;
    let (dead, dead_subscription) = pubsub.create_topic_and_subscription(&unique("dead")).await;
    let function = Function::start(&[
        ("PUBSUB_EMULATOR_HOST", pubsub.host()),
        ("RESULTS", &results),
        ("DEAD_LETTER_TOPIC", &dead),
    ])
    .await;
    let topic = pubsub.create_topic(&unique("work")).await;
    pubsub.create_push(&unique("work"), &topic, &function.url("/")).await;
    let message = |n: usize| {
        let (task, data) = match n % 10 {
            0 => ("translate", "hopeless".to_owned()),
            1..=3 => ("classify", json!({"input": format!("text {n}"), "labels": ["a", "b"]}).to_string()),
            4..=6 => ("rerank", json!({"query": "text", "documents": [format!("{n}"), "x"]}).to_string()),
            _ => ("embed", format!("text number {n}")),
        };
        json!({"data": BASE64_STANDARD.encode(data),
            "attributes": {"task": task, "idempotency-key": format!("message-{n}")}})
    };
    for start in (0..1000).step_by(100) {
        let messages: Vec<Value> = (start..start + 100).map(message).collect();
        pubsub.publish_messages(&topic, &messages).await;
    }
    let patience = Duration::from_secs(60);
    let mut keys: Vec<String> = Vec::new();
    for result in pubsub.pull(&results_subscription, 900, patience).await {
        let task = result.attribute("task").to_owned();
        assert_eq!(result.attribute("ce-type"), format!("ai.workloads.{task}.completed.v1"));
        assert_eq!(result.json()["model"], "all-MiniLM-L6-v2");
        keys.push(result.attribute("ce-id").to_owned());
    }
    assert_eq!(keys.len(), 900);
    for letter in pubsub.pull(&dead_subscription, 100, patience).await {
        assert_eq!(letter.data, "hopeless");
        assert_eq!(letter.attribute("dead-letter-reason"), "unknown-task");
        assert!(letter.attribute("dead-letter-detail").contains("translate"));
        keys.push(letter.attribute("idempotency-key").to_owned());
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 1000);
}

#[tokio::test]
async fn a_host_of_the_environment_that_is_no_address_is_ignored() {
    let function = Function::start(&[("HOST", "x86_64-conda-linux-gnu")]).await;
    assert!(function.url("/").starts_with("http://127.0.0.1:"), "{}", function.url("/"));
    let refused = command(&[("HOST", "127.0.0.1")]).arg("--host=x86_64-conda-linux-gnu").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}
