//! More load than the function can carry: which messages are refused, which are answered, and in which order.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tests::{Function, wrapped};

/// `[CLS]`, `[SEP]` and these words, each of which is one token.
fn text(tokens: usize) -> String {
    vec!["river"; tokens - 2].join(" ")
}

#[tokio::test]
async fn beyond_its_capacity_it_refuses_at_once_and_answers_all_it_accepted() {
    // A batch runs and a queue waits: 8 texts each. Four times as many clients keep sending.
    let settings = [("MAX_BATCH_TOKENS", "1024"), ("MAX_QUEUE_TOKENS", "1024"), ("MODEL_THREADS", "1")];
    let function = Arc::new(Function::start(&settings).await);
    let clients = (0..64).map(|_| {
        let function = Arc::clone(&function);
        tokio::spawn(async move {
            let (mut done, mut refused) = (0, 0);
            for _ in 0..4 {
                let headers = [("content-type", "application/json")];
                let answer = function.post(&headers, wrapped(text(128), &[]).to_string()).await;
                let (status, retry) = (answer.status().as_u16(), answer.headers().get("retry-after").cloned());
                let body: Value = answer.json().await.unwrap();
                if status == 200 {
                    assert_eq!(body["usage"]["total_tokens"], 128, "{body}");
                    assert_eq!(body["data"][0]["embedding"].as_array().map(Vec::len), Some(384));
                    done += 1;
                } else {
                    assert_eq!((status, &body["outcome"]), (429, &json!("overloaded")), "{body}");
                    let seconds: u64 = retry.unwrap().to_str().unwrap().parse().unwrap();
                    assert!((1..=30).contains(&seconds), "{seconds}");
                    refused += 1;
                }
            }
            (done, refused)
        })
    });
    let (mut done, mut refused) = (0, 0);
    let all = async {
        for client in clients.collect::<Vec<_>>() {
            let own: (usize, usize) = client.await.unwrap();
            (done, refused) = (done + own.0, refused + own.1);
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("a message was never answered");
    // What fits at once is done at least, and the 64 that came together did not fit.
    assert!(done >= 8 && refused >= 16 && done + refused == 256, "{done} done, {refused} refused");
    // Nothing is left behind in the queue.
    let metrics = function.get("/metrics").await.text().await.unwrap();
    let waiting = metrics.lines().find(|line| line.contains("queue_tokens") && !line.starts_with('#'));
    assert!(waiting.is_some_and(|line| line.ends_with(" 0")), "{metrics}");
    assert_eq!(function.push(text(1000), &[]).await.0, 200);
}

#[tokio::test]
async fn long_texts_do_not_starve_short_ones() {
    const CLIENTS: usize = 4;
    let settings = [("MAX_BATCH_TOKENS", "512"), ("MODEL_THREADS", "1")];
    let function = Arc::new(Function::start(&settings).await);
    let ended = Arc::new(AtomicUsize::new(0));
    // Each message is larger than a batch, and its sender has the next one ready.
    let long = json!({"input": vec![text(256); 4]}).to_string();
    let senders: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (function, ended, long) = (Arc::clone(&function), Arc::clone(&ended), long.clone());
            tokio::spawn(async move {
                loop {
                    assert_eq!(function.push(&long, &[]).await.0, 200);
                    ended.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let shorts = async {
        for _ in 0..8 {
            let before = ended.load(Ordering::SeqCst);
            assert_eq!(function.push(text(8), &[]).await.0, 200);
            let overtaken = ended.load(Ordering::SeqCst) - before;
            // The messages received before, and one more whose answer was in flight.
            assert!(overtaken <= CLIENTS + 1, "{overtaken} long messages went first");
        }
    };
    tokio::time::timeout(Duration::from_secs(120), shorts).await.expect("a short text was never answered");
    for sender in senders {
        assert!(!sender.is_finished(), "a long message failed");
        sender.abort();
    }
}
