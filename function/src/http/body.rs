//! Reading request bodies within bounds of length, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::RequestError;

/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
/// Bodies of the largest size that are held at once. Pub/Sub sends far more small messages than large ones.
const MAX_LARGEST_BODIES: usize = 8;
/// After a refusal, how long the rest of a body is read and discarded in all.
const DISCARD_TIMEOUT: Duration = Duration::from_secs(5);
/// After a refusal, how long no byte of the rest may arrive before reading ends.
const DISCARD_IDLE_TIMEOUT: Duration = Duration::from_millis(500);
/// The least that a request counts for, in KiB: headers, message, response. It bounds the number of requests in flight.
const MIN_REQUEST_KIB: usize = 16;

/// Memory for the bodies of all requests in flight.
pub(crate) struct BodyBudget {
    max_bytes: usize,
    /// One permit is 1 KiB.
    memory: Arc<Semaphore>,
}

/// The memory of one body. It is free again when this is dropped, which is when the response is made.
pub(super) struct BodyPermit {
    _permit: OwnedSemaphorePermit,
}

impl BodyBudget {
    /// `max_bytes` bounds one body.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let largest_kib = max_bytes.div_ceil(1024).max(MIN_REQUEST_KIB);
        let kib = largest_kib.saturating_mul(MAX_LARGEST_BODIES).min(u32::MAX as usize);
        Self { max_bytes, memory: Arc::new(Semaphore::new(kib.min(Semaphore::MAX_PERMITS))) }
    }

    /// Reads a body to its end. Memory is claimed as bytes arrive: announcing a length costs nothing, and holds nothing
    /// up. A body that announces more than the bound is refused before a byte of it is waited for; a client that waits
    /// for `100 Continue` gets the refusal instead.
    pub(super) async fn read(&self, body: &mut Body) -> Result<(Bytes, BodyPermit), RequestError> {
        let announced = body.size_hint().lower();
        if announced > self.max_bytes as u64 {
            return Err(self.too_large(announced.to_string()));
        }
        match tokio::time::timeout(BODY_TIMEOUT, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(RequestError::BodyTooSlow(BODY_TIMEOUT)),
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<(Bytes, BodyPermit), RequestError> {
        let mut permit = self.claim(MIN_REQUEST_KIB)?;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new(); // only if there is more than one frame
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| RequestError::BodyUnreadable)?;
            let Ok(data) = frame.into_data() else { continue };
            let length = first.len().max(whole.len()) + data.len();
            if length > self.max_bytes {
                return Err(self.too_large("more".to_owned()));
            }
            let missing = length.div_ceil(1024).saturating_sub(permit.num_permits());
            if missing > 0 {
                permit.merge(self.claim(missing)?);
            }
            if first.is_empty() {
                first = data;
                continue;
            }
            if whole.is_empty() {
                whole.extend_from_slice(&first);
            }
            whole.extend_from_slice(&data);
        }
        let body = if whole.is_empty() { first } else { whole.freeze() };
        Ok((body, BodyPermit { _permit: permit }))
    }

    fn too_large(&self, found: String) -> RequestError {
        RequestError::BodyTooLarge { max_bytes: self.max_bytes, found }
    }

    fn claim(&self, kib: usize) -> Result<OwnedSemaphorePermit, RequestError> {
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let full = RequestError::TooManyRequests { retry_after: Duration::from_secs(1) };
        Arc::clone(&self.memory).try_acquire_many_owned(kib).map_err(|_| full)
    }
}

/// Refuses a body in a content encoding: the length that counts, and what the body says, appear only after decoding.
pub(super) fn check_encoding(headers: &HeaderMap) -> Result<(), RequestError> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let mut encodings = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let Some(found) = encodings.find(|name| !name.is_empty() && !name.eq_ignore_ascii_case(b"identity")) else {
        return Ok(());
    };
    let found = String::from_utf8_lossy(found).chars().filter(|c| !c.is_control()).take(40).collect();
    Err(RequestError::ContentEncoding { found })
}

/// Reads and discards the rest of a body whose request is refused. Many clients look for a response only when they have
/// sent everything, and one whose connection is closed before that never sees why.
pub(super) fn discard(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    let rest =
        async move { while let Ok(Some(Ok(_))) = tokio::time::timeout(DISCARD_IDLE_TIMEOUT, body.frame()).await {} };
    tokio::spawn(tokio::time::timeout(DISCARD_TIMEOUT, rest));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use axum::http::StatusCode;

    use super::*;
    use crate::http::status;

    fn status(error: &RequestError) -> StatusCode {
        status::of_request(error).0
    }

    fn frames(frames: Vec<Vec<u8>>) -> Body {
        Body::from_stream(futures_util::stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn requests_in_flight_share_the_memory() {
        let bodies = BodyBudget::new(32 << 10); // memory for 8 × 32 KiB
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(bodies.read(&mut Body::from(vec![0; 32 << 10])).await.unwrap());
        }
        held.push(bodies.read(&mut Body::from("small")).await.unwrap());
        // 16 KiB are left: a large body ends where they do, a small one fits.
        let refused = bodies.read(&mut frames(vec![vec![0; 10 << 10]; 3])).await.err().unwrap();
        assert_eq!(status(&refused), StatusCode::TOO_MANY_REQUESTS);
        held.push(bodies.read(&mut Body::from("small")).await.unwrap());
        assert!(bodies.read(&mut Body::empty()).await.is_err());
        held.clear();
        assert!(bodies.read(&mut frames(vec![vec![0; 10 << 10]; 3])).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_arriving_is_given_up() {
        let bodies = BodyBudget::new(1024);
        let stalled = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let refused = bodies.read(&mut Body::from_stream(stalled)).await.err().unwrap();
        assert_eq!(status(&refused), StatusCode::REQUEST_TIMEOUT);
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let refused = bodies.read(&mut Body::from_stream(broken)).await.err().unwrap();
        assert_eq!(status(&refused), StatusCode::BAD_REQUEST);
        assert_eq!(bodies.memory.available_permits(), 8 * MIN_REQUEST_KIB);
    }

    proptest! {
        #[test]
        fn bodies_arrive_whole_or_are_too_large(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12)) {
            let whole = chunks.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            match runtime.block_on(BodyBudget::new(1000).read(&mut frames(chunks))) {
                Ok((body, _held)) => prop_assert_eq!(body, whole),
                Err(problem) => {
                    prop_assert!(whole.len() > 1000);
                    prop_assert_eq!(status(&problem), StatusCode::PAYLOAD_TOO_LARGE);
                }
            }
        }
    }
}
