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
