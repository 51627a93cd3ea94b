//! Queue, batches and clients that go away.

use super::*;

#[tokio::test]
async fn concurrent_requests_share_a_batch() {
    let server = Server::start(&[]).await;
    let first = server.later("wait");
    server.until_batches(1).await;
    let rest: Vec<_> = (0..20).map(|n| server.later(&format!("text {n:02}"))).collect();
    server.until_metric("queue_tokens 140").await; // 20 × 7 bytes
    server.task.open();
    assert_eq!(first.await.unwrap().status(), 200);
    for answer in rest {
        assert_eq!(answer.await.unwrap().json::<Value>().await.unwrap(), json!({ "length": 7 }));
    }
    let sizes: Vec<_> = server.task.batches().iter().map(Vec::len).collect();
    assert_eq!(sizes, [1, 20]);
}

#[tokio::test]
async fn a_full_queue_is_429_with_a_time_to_come_back() {
    let server = Server::start(&["--max-queue-tokens=10"]).await;
    let first = server.later("wait");
    server.until_batches(1).await;
    let second = server.later("12345678");
    server.until_metric("queue_tokens 8").await;
    let response = server.push("abc").await;
    assert!(response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap() >= 1);
    assert_eq!(problem(response, 429).await, ("overloaded".into(), "overloaded".into(), json!("17")));
    // More than the queue could ever hold.
    assert_eq!(problem(server.push("12345678901").await, 422).await.0, "message-too-large");
    server.task.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(second.await.unwrap().status(), 200);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_the_queue() {
    let server = Server::start(&[]).await;
    let first = server.later("wait");
    server.until_batches(1).await;
    let gone = server.later("gone");
    server.until_metric("queue_tokens 4").await;
    gone.abort();
    server.until_metric("queue_tokens 0").await;
    let stays = server.later("stays");
    server.until_metric("queue_tokens 5").await;
    server.task.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(stays.await.unwrap().status(), 200);
    assert_eq!(server.task.batches(), [["wait"], ["stays"]]);
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_refused_as_a_whole_at_once() {
    let server = Server::start(&["--max-queue-tokens=10"]).await;
    let first = server.later("wait");
    server.until_batches(1).await;
    let event = |id: usize| json!({ "specversion": "1.0", "id": id.to_string(), "source": "/test", "type": "a.b", "datacontenttype": "text/plain", "data": "four" });
    let mut events: Vec<Value> = (0..40).map(event).collect();
    events[1] = json!({ "specversion": "1.0" });
    let events = Value::from(events).to_string();
    let request = server.client.post(server.url("/")).header("content-type", "application/cloudevents-batch+json");
    // The task runs on all the while.
    let response = request.body(events).send().await.unwrap();
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    let entries: Vec<Value> = response.json().await.unwrap();
    assert!(entries.iter().all(|entry| entry["outcome"] == "overloaded"));
    let ids: Vec<_> = entries.iter().map(|entry| entry["message_id"].clone()).collect();
    assert_eq!(ids[..3], [json!("0"), Value::Null, json!("2")]);
    assert_eq!(ids.len(), 40);
    server.until_metric("queue_tokens 0").await;
    server.task.open();
    assert_eq!(first.await.unwrap().status(), 200);
    assert_eq!(server.task.batches(), [["wait"]]);
}

#[tokio::test]
async fn a_task_that_hangs_costs_its_message_and_then_the_process() {
    let server = Server::start(&["--task-timeout-ms=200"]).await;
    for n in 0..3 {
        assert_eq!(server.get("/health/live").await.status(), 200, "{n} hang");
        assert_eq!(server.push("four").await.status(), 200);
        assert_eq!(problem(server.push("wait").await, 503).await.1, "retry");
    }
    assert_eq!(problem(server.get("/health/live").await, 503).await.0, "tasks-hang");
    assert_eq!(server.push("four").await.status(), 503);
    server.task.open();
    until(async || server.get("/health/live").await.status() == 200).await;
    assert_eq!(server.push("four").await.status(), 200);
}

#[tokio::test]
async fn a_task_must_end_before_its_request() {
    let server = Server::start(&["--task-timeout-ms=60000", "--service=ai-workloads-function"]).await;
    let error = server.ended.await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("TASK_TIMEOUT_MS is `60000`"), "{error}");
}
