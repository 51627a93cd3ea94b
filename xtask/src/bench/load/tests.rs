//! Load on a small server.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::*;
use crate::bench::workload::{Random, messages, texts};
use crate::flags::bench::{Form, Length};

/// A server that answers one request a connection at a time with what `answer` makes of its number; returns its
/// address.
fn serve(answer: impl Fn(usize) -> &'static str + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let answer = Arc::new(answer);
    let count = Arc::new(AtomicU64::new(0));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer, count) = (stream.unwrap(), Arc::clone(&answer), Arc::clone(&count));
            std::thread::spawn(move || {
                let mut request = Vec::new();
                let mut part = [0; 65_536];
                while let Ok(read @ 1..) = stream.read(&mut part) {
                    request.extend_from_slice(&part[..read]);
                    if complete(&request) {
                        request.clear();
                        let n = count.fetch_add(1, Ordering::SeqCst) as usize;
                        let _ = stream.write_all(answer(n).as_bytes());
                    }
                }
            });
        }
    });
    format!("http://{address}/")
}

fn complete(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.unwrap().parse().unwrap()
}

fn load(url: &str, rate: Option<f64>, connections: usize, milliseconds: u64) -> Answers {
    let texts = texts(10, Length::Fixed(16), &mut Random::new(1));
    let messages = &messages(&texts, Form::Batch, 5);
    run(&Load { url, headers: &[], messages, connections, rate, duration: Duration::from_millis(milliseconds) })
        .unwrap()
}

const DONE: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
const FULL: &str = "HTTP/1.1 429 Too Many Requests\r\ncontent-type: application/problem+json\r\ncontent-length: 24\r\n\r\n{\"outcome\":\"overloaded\"}";

#[test]
fn outcomes_are_counted_apart() {
    let url = serve(|n| if n.is_multiple_of(2) { DONE } else { FULL });
    let answers = load(&url, None, 1, 100);
    let (done, full) = (answers.outcomes["200 done"], answers.outcomes["429 overloaded"]);
    assert!(done > 2 && done.abs_diff(full) <= 1, "{answers:?}");
    assert_eq!((answers.done.total(), answers.refused.total(), answers.events), (done, full, 5 * done));
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let url = serve(|_| DONE);
    let answers = load(&url, Some(200.0), 8, 500);
    assert_eq!(answers.outcomes, [("200 done".to_owned(), 100)].into());
}

/// The server stalls once for 300 ms, and a request is due every 10 ms: those behind it have waited too.
#[test]
fn a_stall_counts_for_every_request_that_it_delays() {
    let url = serve(|n| {
        if n == 10 {
            std::thread::sleep(Duration::from_millis(300));
        }
        DONE
    });
    let answers = load(&url, Some(100.0), 1, 500);
    assert_eq!(answers.done.total(), 50);
    // 20 of 50 were due in the first 200 ms of the stall.
    assert!(answers.done.percentile(62.0) >= 100.0, "{:?}", answers.done.json());
    assert!(answers.done.percentile(10.0) < 300.0);
}

#[test]
fn a_server_that_is_not_there_is_an_outcome() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let answers = load(&format!("http://127.0.0.1:{port}"), None, 1, 50);
    assert!(answers.outcomes["no connection"] > 0 && answers.outcomes.len() == 1, "{answers:?}");
    assert!(
        run(&Load {
            url: "ftp://x",
            headers: &[],
            messages: &[],
            connections: 1,
            rate: None,
            duration: Duration::ZERO
        })
        .is_err()
    );
}
