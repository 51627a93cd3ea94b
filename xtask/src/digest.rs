//! Digests, as text.

use sha2::{Digest, Sha256};

/// The SHA-256 of these bytes, in lower-case hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
