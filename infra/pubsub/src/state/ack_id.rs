//! Acknowledgement ids.

use tonic::Status;

use crate::error::invalid;

/// Names one delivery: of which subscription (its uid), which message, and which time. In text, three hexadecimal
/// numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct AckId {
    pub(super) uid: u64,
    pub(super) number: u64,
    pub(super) token: u64,
}

impl AckId {
    pub(crate) fn parse(text: &str) -> Result<Self, Status> {
        let mut parts = text.split('-').map(|part| u64::from_str_radix(part, 16).ok());
        match (parts.next().flatten(), parts.next().flatten(), parts.next().flatten(), parts.next()) {
            (Some(uid), Some(number), Some(token), None) => Ok(Self { uid, number, token }),
            _ => Err(invalid(format!(
                "You have passed an invalid ack ID to the service (ack_id={text}).",
                text = clip(text)
            ))),
        }
    }
}

impl std::fmt::Display for AckId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}-{:x}-{:x}", self.uid, self.number, self.token)
    }
}

fn clip(text: &str) -> &str {
    text.char_indices().nth(100).map_or(text, |(end, _)| &text[..end])
}
