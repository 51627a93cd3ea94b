//! Protocols, slow clients, and shutdown.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

#[tokio::test]
async fn both_protocols_on_one_port() {
    let server = Server::start(&[]).await;
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    for (client, version) in [(&server.client, reqwest::Version::HTTP_11), (&client, reqwest::Version::HTTP_2)] {
        let response = client.post(server.url("/")).body(push("hello", &json!({}))).send().await.unwrap();
        assert_eq!((response.status().as_u16(), response.version()), (200, version));
    }
}

/// On a paused clock, time jumps to the next timer whenever nothing else happens.
#[tokio::test(start_paused = true)]
async fn a_client_that_sends_no_request_is_cut_off() {
    let server = Server::start(&[]).await;
    let preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    for start in
        ["", "P", "PRI * HT", preface, "POST / HTTP/1.1\r\n", "GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET"]
    {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(start.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        // Returns when the server has closed or reset the connection.
        let _ = stream.read_to_end(&mut answer).await;
        assert_eq!(answer.starts_with(b"HTTP/1.1 200"), start.starts_with("GET"), "{start}");
    }
}

#[tokio::test]
async fn the_end_waits_for_requests_in_flight() {
    let server = Server::start(&[]).await;
    let running = server.later("wait");
    server.until_batches(1).await;
    let waiting = server.later("next");
    server.until_metric("queue_tokens 4").await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    until(async || server.get("/health/ready").await.status() == 200).await;
    server.stop.send(()).unwrap();
    let url = |path| format!("http://{}{path}", server.address);
    let client = Client::new();
    until(async || client.get(url("/health/ready")).send().await.unwrap().status() == 503).await;
    let refused = client.post(url("/")).body(push("late", &json!({}))).send().await.unwrap();
    assert_eq!(problem(refused, 503).await, ("draining".into(), "retry".into(), Value::Null));
    // A connection without a request does not hold up the end.
    let _ = idle.read_to_end(&mut Vec::new()).await;
    assert!(!server.ended.is_finished());
    server.task.open();
    assert_eq!(running.await.unwrap().status(), 200);
    assert_eq!(waiting.await.unwrap().status(), 200);
    assert!(server.ended.await.unwrap().is_ok());
    assert_eq!(server.task.batches().concat(), ["wait", "next"]);
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_end_does_not_wait_forever() {
    let server = Server::start(&[]).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = push("wait", &json!({}));
    let request = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes()).await.unwrap();
    server.until_batches(1).await;
    let start = tokio::time::Instant::now();
    server.stop.send(()).unwrap();
    assert!(server.ended.await.unwrap().is_ok());
    assert_eq!(start.elapsed().as_secs(), 9);
    server.task.open();
}
