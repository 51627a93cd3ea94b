//! A small HTTP client whose failures are test failures.

use bytes::Bytes;
use reqwest::{Client, RequestBuilder};

/// A client without connections kept: each test has a runtime of its own, and a kept one would die with the first.
pub(crate) fn client() -> Client {
    function::clients::use_ring();
    let client = Client::builder().pool_max_idle_per_host(0).no_proxy().build();
    client.unwrap_or_else(|error| panic!("no HTTP client: {error}"))
}

/// Sends and returns status and body.
pub(crate) async fn send(request: RequestBuilder) -> (u16, Bytes) {
    let answer = async {
        let response = request.send().await?;
        let status = response.status().as_u16();
        Ok::<_, reqwest::Error>((status, response.bytes().await?))
    };
    answer.await.unwrap_or_else(|error| panic!("{error:?}"))
}

/// Sends and expects a 2xx.
pub(crate) async fn ok(request: RequestBuilder) -> Bytes {
    let what = format!("{request:?}");
    let (status, body) = send(request).await;
    assert!((200..300).contains(&status), "{what}: {status} {}", String::from_utf8_lossy(&body));
    body
}
