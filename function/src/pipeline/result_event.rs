//! A result as a CloudEvent, without a protocol yet: a response sends it in binary mode, an entry of a batch in
//! structured mode.

use bytes::Bytes;

use crate::TaskResult;

/// The attributes and data of a result's CloudEvent.
#[derive(Debug)]
pub(crate) struct ResultEvent {
    /// The idempotency key of the input.
    pub(crate) id: String,
    pub(crate) source: String,
    /// CloudEvents `type`.
    pub(crate) kind: String,
    /// RFC 3339, UTC.
    pub(crate) time: String,
    /// JSON text.
    pub(crate) body: Bytes,
}

impl ResultEvent {
    pub(crate) fn of(result: &TaskResult<'_>) -> Self {
        Self {
            id: result.key.clone().into_owned(),
            source: result.source(),
            kind: result.kind(),
            time: result.time.clone(),
            body: result.body.clone(),
        }
    }
}
