//! Reading request bodies within bounds of length, time and memory.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::answer::Problem;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);
/// Bodies of the largest size that are held at once. Pub/Sub sends far more small messages than large ones.
const LARGEST_AT_ONCE: usize = 8;
/// After a refusal, how long the rest of a body is read and thrown away: in all, and without a byte of it coming.
const DISCARD_TIME: Duration = Duration::from_secs(5);
const DISCARD_PAUSE: Duration = Duration::from_millis(500);
/// What a request costs at least, in units of 1 KiB: headers, message, answer. It bounds the requests in flight.
const LEAST: usize = 16;

/// Memory for the bodies of all requests in flight.
pub(crate) struct Bodies {
    max_bytes: usize,
    /// One permit is 1 KiB.
    room: Arc<Semaphore>,
}

/// Gives the memory back when it is dropped, which is when the request has been answered.
pub(super) struct Held {
    _permit: OwnedSemaphorePermit,
}

impl Bodies {
    /// `max_bytes` bounds one body.
    pub(crate) fn new(max_bytes: usize) -> Self {
        let largest = max_bytes.div_ceil(1024).max(LEAST);
        let units = largest.saturating_mul(LARGEST_AT_ONCE).min(u32::MAX as usize);
        Self { max_bytes, room: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))) }
    }

    /// Reads a body to its end. Memory is claimed as bytes arrive: announcing a length costs nothing, and holds nothing up.
    /// A body that announces more than the bound is refused before a byte of it is waited for; a client that waits for
    /// `100 Continue` gets the refusal instead.
    pub(super) async fn read(&self, body: &mut Body) -> Result<(Bytes, Held), Problem> {
        let announced = body.size_hint().lower();
        if announced > self.max_bytes as u64 {
            return Err(self.too_large(&format!("this one has {announced}")));
        }
        match tokio::time::timeout(BODY_TIME, self.collect(body)).await {
            Ok(read) => read,
            Err(_) => Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "body-too-slow",
                format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
            )),
        }
    }

    async fn collect(&self, body: &mut Body) -> Result<(Bytes, Held), Problem> {
        let mut permit = self.claim(LEAST).map_err(|full| *full)?;
        let mut first = Bytes::new();
        let mut whole = BytesMut::new(); // only if there is more than one frame
        while let Some(frame) = body.frame().await {
            let unreadable = "the body did not arrive whole";
            let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "body-unreadable", unreadable))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = first.len().max(whole.len()) + data.len();
            if length > self.max_bytes {
                return Err(self.too_large("this one has more"));
            }
            let missing = length.div_ceil(1024).saturating_sub(permit.num_permits());
            if missing > 0 {
                permit.merge(self.claim(missing).map_err(|full| *full)?);
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
        Ok((body, Held { _permit: permit }))
    }

    fn too_large(&self, found: &str) -> Problem {
        let detail =
            format!("a body has at most {} bytes, and {found}; send large payloads as claim checks", self.max_bytes);
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large", detail)
    }

    fn claim(&self, units: usize) -> Result<OwnedSemaphorePermit, Box<Problem>> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        Arc::clone(&self.room).try_acquire_many_owned(units).map_err(|_| {
            let detail = "too many requests are in flight; send it again later";
            Box::new(
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "overloaded", detail).retry_after(Duration::from_secs(1)),
            )
        })
    }
}

/// Throws away the rest of a body whose request is refused, while its sender goes on sending. Many clients look for an answer only
/// when they have sent everything, and one whose connection is closed before that never sees why.
pub(super) fn discard(mut body: Body) {
    if body.is_end_stream() {
        return;
    }
    let rest = async move { while let Ok(Some(Ok(_))) = tokio::time::timeout(DISCARD_PAUSE, body.frame()).await {} };
    tokio::spawn(tokio::time::timeout(DISCARD_TIME, rest));
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    fn frames(frames: Vec<Vec<u8>>) -> Body {
        Body::from_stream(futures_util::stream::iter(frames.into_iter().map(Ok::<_, std::io::Error>)))
    }

    #[tokio::test]
    async fn requests_in_flight_share_the_memory() {
        let bodies = Bodies::new(32 << 10); // room for 8 × 32 KiB
        let mut held = Vec::new();
        for _ in 0..7 {
            held.push(bodies.read(&mut Body::from(vec![0; 32 << 10])).await.unwrap());
        }
        held.push(bodies.read(&mut Body::from("small")).await.unwrap());
        // 16 KiB are left: a large body ends where they do, a small one fits.
        let refused = bodies.read(&mut frames(vec![vec![0; 10 << 10]; 3])).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
        held.push(bodies.read(&mut Body::from("small")).await.unwrap());
        assert!(bodies.read(&mut Body::empty()).await.is_err());
        held.clear();
        assert!(bodies.read(&mut frames(vec![vec![0; 10 << 10]; 3])).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_arriving_is_given_up() {
        let bodies = Bodies::new(1024);
        let stalled = futures_util::stream::pending::<Result<Bytes, std::io::Error>>();
        let refused = bodies.read(&mut Body::from_stream(stalled)).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::REQUEST_TIMEOUT);
        let broken = futures_util::stream::iter([Err::<Bytes, _>(std::io::Error::other("gone"))]);
        let refused = bodies.read(&mut Body::from_stream(broken)).await.err().unwrap();
        assert_eq!(refused.status(), StatusCode::BAD_REQUEST);
        assert_eq!(bodies.room.available_permits(), 8 * LEAST);
    }

    proptest! {
        #[test]
        fn bodies_arrive_whole_or_are_too_large(chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..12)) {
            let whole = chunks.concat();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            match runtime.block_on(Bodies::new(1000).read(&mut frames(chunks))) {
                Ok((body, _held)) => prop_assert_eq!(body, whole),
                Err(problem) => {
                    prop_assert!(whole.len() > 1000);
                    prop_assert_eq!(problem.status(), StatusCode::PAYLOAD_TOO_LARGE);
                }
            }
        }
    }
}
