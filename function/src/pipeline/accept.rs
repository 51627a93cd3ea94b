//! The payload of a message, and the task's reading of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::task::{AnyInput, AnyTask, Work};
use crate::{Message, Outcome, Payloads};

/// The largest payload, in bytes, that a task accepts on the async runtime; a larger one would hold up other requests.
const MAX_INLINE_PAYLOAD_BYTES: usize = 64 << 10;

/// Resolves the payload and lets the task at index `task` accept the message.
pub(super) async fn accept(
    payloads: &Payloads,
    tasks: &Arc<[Box<dyn AnyTask>]>,
    task: usize,
    message: &Message,
) -> Result<Work<AnyInput>, Outcome> {
    let message = payloads.resolve(message).await?;
    if message.data.len() <= MAX_INLINE_PAYLOAD_BYTES {
        return unless_it_panics(&*tasks[task], &message);
    }
    let (tasks, message) = (Arc::clone(tasks), message.into_owned());
    tokio::task::spawn_blocking(move || unless_it_panics(&*tasks[task], &message))
        .await
        .unwrap_or_else(|_| Err(Outcome::retry("this instance is shutting down")))
}

/// A panic in a task's `accept` fails its own message and no other.
fn unless_it_panics(task: &dyn AnyTask, message: &Message) -> Result<Work<AnyInput>, Outcome> {
    catch_unwind(AssertUnwindSafe(|| task.accept(message))).unwrap_or_else(|_| {
        tracing::error!(task = task.name(), message_id = message.id, "the task panicked");
        Err(Outcome::retry("the task failed"))
    })
}
