//! Clients that go away in the middle of their requests.

use tests::{Bus, wrapped};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::scene::{SceneSettings, Transport, until};

const MESSAGES: usize = 1000;
const CLIENTS: usize = 600;

#[tokio::test]
async fn clients_that_go_away_leave_nothing_behind_and_delay_no_other_client() {
    let scene = SceneSettings::new(Transport::Push, 100).create(Bus::shared()).await;
    let function = scene.start().await;
    let address = function.url("").replace("http://", "");
    scene.publish(0..MESSAGES, |_| "sleep 2".to_owned()).await;
    until("the first results", || scene.results() >= 50).await;
    for n in 0..CLIENTS {
        let body = wrapped("sleep 2", &[("idempotency-key", &format!("gone-{n}"))]).to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let request = format!("{head}{body}");
        // It goes away in the middle of the headers, in the middle of the body, or before the answer.
        let sent = [head.len() / 2, head.len() + body.len() / 2, request.len()][n % 3];
        let mut stream = TcpStream::connect(&address).await.unwrap();
        stream.write_all(&request.as_bytes()[..sent]).await.unwrap();
    }
    assert!(scene.backlog() > 0, "all was done before the last client went");
    scene.settled().await;
    let port: u16 = address.rsplit(':').next().unwrap().parse().unwrap();
    until("no connection left that its client has closed", || half_closed(port) == 0).await;
    while function.metric("queue_tokens").await != Some(0.0) {
        tokio::task::yield_now().await;
    }
    let mut counts = scene.finish(function).await;
    let gone: Vec<String> = counts.results.keys().filter(|key| key.starts_with("gone-")).cloned().collect();
    for key in &gone {
        assert_eq!(counts.results.remove(key).map(|results| results.len()), Some(1), "{key}");
        // Only those whose request was sent to its end.
        assert_eq!(key["gone-".len()..].parse::<usize>().unwrap() % 3, 2);
    }
    assert_eq!((counts.add_up(0..MESSAGES), counts.results.len()), (0, MESSAGES));
    println!(
        "{MESSAGES} messages, {CLIENTS} clients gone: {MESSAGES} results, {} of clients that had gone",
        gone.len()
    );
}

/// Connections at this port that the other side has closed and this one has not: CLOSE_WAIT in /proc/net/tcp; 0 where
/// there is no such file.
fn half_closed(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!(":{port:04X}");
    let is = |line: &&str| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|address| address.ends_with(&local)) && fields.nth(1) == Some("08")
    };
    table.lines().filter(is).count()
}
