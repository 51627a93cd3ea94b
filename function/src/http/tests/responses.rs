//! The response to each outcome and to each kind of request.

use super::*;

#[tokio::test]
async fn a_result_is_a_cloudevent() {
    let server = Server::start(&[]).await;
    let response = server.post(push("hello", &json!({ "idempotency-key": "order 1" }))).await;
    assert_eq!(response.status(), 200);
    let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
    assert_eq!(header("ce-specversion"), "1.0");
    assert_eq!(header("ce-id"), "order%201");
    assert_eq!(header("ce-type"), "ai.workloads.obey.completed.v1");
    assert!(header("ce-source").starts_with("//ai.workloads/services/"));
    assert!(header("ce-time").parse::<jiff::Timestamp>().is_ok());
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(response.json::<Value>().await.unwrap(), json!({ "length": 5 }));
}

#[tokio::test]
async fn without_response_among_the_results_the_answer_is_empty() {
    let server = Server::start(&["--results=stdout"]).await;
    let response = server.push("hello").await;
    assert_eq!(response.status(), 204);
    assert_eq!(response.bytes().await.unwrap(), "");
}

#[tokio::test]
async fn what_is_not_done_is_a_problem() {
    let server = Server::start(&[]).await;
    let words = |kind: &str, outcome: &str| (kind.to_owned(), outcome.to_owned(), json!("17"));
    assert_eq!(problem(server.push("reject").await, 422).await, words("bad-payload", "rejected"));
    let response = server.push("retry").await;
    assert_eq!(response.headers()["retry-after"], "3");
    assert_eq!(problem(response, 503).await, words("retry", "retry"));
    let response = server.push("panic").await;
    assert!(!response.headers().contains_key("retry-after"));
    assert_eq!(problem(response, 503).await, words("retry", "retry"));
    for long in [0, 100_000] {
        // On the runtime and on a blocking thread.
        let text = format!("refuse to be read{}", " ".repeat(long));
        assert_eq!(problem(server.push(&text).await, 503).await, words("retry", "retry"));
    }
    assert_eq!(server.push("hello").await.status(), 200);
}

#[tokio::test]
async fn a_message_names_its_task() {
    let server = Server::start(&[]).await;
    assert_eq!(server.post(push("x", &json!({ "task": "obey" }))).await.status(), 200);
    let response = server.post(push("x", &json!({ "task": "em\nbed" }))).await;
    let body: Value = response.json().await.unwrap();
    assert_eq!(body["type"], "urn:ai-workloads:problem:unknown-task");
    assert_eq!(body["detail"], "there is no task `embed`; this service has: obey");
}

#[tokio::test]
async fn other_requests_are_refused() {
    let server = Server::start(&["--max-body-bytes=1000"]).await;
    let words = |kind: &str| (kind.to_owned(), "rejected".to_owned(), Value::Null);
    let (_, outcome, id) = problem(server.post("no event").await, 400).await;
    assert_eq!((outcome.as_str(), id), ("rejected", Value::Null));
    assert_eq!(problem(server.get("/nowhere").await, 404).await, words("not-found"));
    assert_eq!(problem(server.client.post(server.url("/a")).send().await.unwrap(), 404).await, words("not-found"));
    let response = server.client.put(server.url("/")).send().await.unwrap();
    let allowed = response.headers()["allow"].to_str().unwrap().to_owned();
    assert!(allowed.contains("POST") && allowed.contains("GET"), "{allowed}");
    assert_eq!(problem(response, 405).await, words("method-not-allowed"));
    let response = server.client.post(server.url("/metrics")).send().await.unwrap();
    assert_eq!(problem(response, 405).await, words("method-not-allowed"));
    // The refusal arrives although the client is still sending.
    assert_eq!(problem(server.post(vec![b' '; 20 << 20]).await, 413).await, words("body-too-large"));
}

#[tokio::test]
async fn a_batch_has_an_entry_an_event_and_the_worst_status() {
    let server = Server::start(&[]).await;
    let event = |id: &str, data: &str| json!({ "specversion": "1.0", "id": id, "source": "/test", "type": "a.b", "datacontenttype": "text/plain", "data": data });
    let send = async |events: Value| {
        let request = server.client.post(server.url("/")).body(events.to_string());
        let kind = "application/cloudevents-batch+json";
        let response = request.header("content-type", kind).send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json::<Vec<Value>>().await.unwrap())
    };
    let (status, entries) = send(json!([event("1", "a"), event("2", "bcd")])).await;
    assert_eq!((status, entries.len()), (200, 2));
    assert_ne!(entries[0]["id"], entries[1]["id"]);
    for (entry, length) in entries.iter().zip([1, 3]) {
        assert_eq!(entry["specversion"], "1.0");
        assert_eq!(entry["type"], "ai.workloads.obey.completed.v1");
        assert_eq!(entry["data"], json!({ "length": length }));
    }
    let (status, entries) =
        send(json!([event("1", "a"), event("2", "reject"), event("3", "retry"), { "specversion": "1.0" }])).await;
    assert_eq!((status, entries.len()), (503, 4));
    assert_eq!(entries[0]["data"], json!({ "length": 1 }));
    let statuses: Vec<_> = entries[1..].iter().map(|entry| entry["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [422, 503, 400]);
    assert_eq!(entries[1]["message_id"], "2");
    assert_eq!(send(json!([])).await, (200, vec![]));
}

#[tokio::test]
async fn the_page_health_and_metrics() {
    let server = Server::start(&["--max-batch-tokens=100"]).await;
    let page: Value = server.get("/").await.json().await.unwrap();
    assert_eq!((&page["tasks"], &page["model"]), (&json!(["obey"]), &Value::Null));
    assert!(page["service"].is_string() && page["version"].is_string() && page["forms"].is_array());
    assert_eq!(server.get("/health/live").await.status(), 200);
    until(async || server.get("/health/ready").await.status() == 200).await;

    server.push("hello").await;
    server.push("reject").await;
    server.post("no event").await;
    server.until_metric("batch_seconds_count 1").await; // counted after the answers have gone
    let response = server.get("/metrics").await;
    assert!(response.headers()["content-type"].to_str().unwrap().contains("text"));
    let text = response.text().await.unwrap();
    for line in [
        r#"messages_total{task="obey",outcome="done"} 1"#,
        r#"messages_total{task="obey",outcome="rejected"} 1"#,
        r#"message_seconds_count{task="obey"} 2"#,
        r#"refused_requests_total{status="400"} 1"#,
        "queue_tokens 0",
        "batch_messages_sum 1.0",
        "batch_tokens_sum 5.0",
        "batch_seconds_count 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no line `{line}` in:\n{text}");
    }
}

#[tokio::test]
async fn the_model_s_tasks_are_ready_after_the_model_has_run() {
    let server = Server::with(Function::new().with_model_tasks(), Obey::default(), &["--model-threads=1"]).await;
    until(async || server.get("/health/ready").await.status() == 200).await;
    let page: Value = server.get("/").await.json().await.unwrap();
    assert_eq!(page["tasks"], json!(["embed", "classify", "rerank"]));
    assert!(page["model"].as_str().unwrap().contains("MiniLM"));
    let answer: Value = server.push("hello").await.json().await.unwrap();
    assert_eq!(answer["data"][0]["embedding"].as_array().unwrap().len(), 384);
}

#[tokio::test]
async fn a_program_that_cannot_serve_says_why() {
    struct Named(&'static str);
    impl Task for Named {
        type Input = ();
        fn name(&self) -> &str {
            self.0
        }
        fn accept(&self, _: &Message) -> Result<Work<()>, Outcome> {
            Ok(Work { input: (), cost: 1 })
        }
        fn run(&self, batch: &[&()]) -> Vec<Outcome> {
            batch.iter().map(|()| Outcome::Done("{}".into())).collect()
        }
    }
    let start = async |function: Function, arguments: &[&str]| {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        function.serve(config(arguments), listener, async {}).await
    };
    assert!(start(Function::new().task(Named("a")), &[]).await.is_ok());
    for (function, arguments, says) in [
        (Function::new(), vec![], "no tasks"),
        (Function::new().task(Named("Not This")), vec![], "\"Not This\""),
        (Function::new().task(Named("a")).task(Named("a")), vec![], "two tasks are named `a`"),
        (Function::new().with_model_tasks(), vec!["--model=/nowhere"], "MODEL is `/nowhere`"),
        (Function::new().task(Named("a")), vec!["--dead-letter-topic=here"], "DEAD_LETTER_TOPIC is `here`"),
    ] {
        let error = start(function, &arguments).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // A program's own task replaces the model's task of the same name.
    let server =
        Server::with(Function::new().with_model_tasks().task(Named("embed")), Obey::default(), &["--model-threads=1"])
            .await;
    assert_eq!(server.push("hello").await.json::<Value>().await.unwrap(), json!({}));
}
