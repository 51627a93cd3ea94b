//! Base64 as senders write it: either alphabet, with or without padding, as long as it has one meaning only.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;

/// Decodes base64 of the standard or the URL-safe alphabet (RFC 4648 §4 and §5), fully padded or not padded at all.
///
/// The error says what is wrong. Refused are: both alphabets in one text, line breaks and blanks, padding of a wrong
/// length, and last bits that are not zero, since two readers could make different things of them.
pub(super) fn decode(text: &str) -> Result<Bytes, String> {
    let digits = unpadded(text)?;
    let decoded =
        STANDARD_NO_PAD.decode(digits).or_else(|_| URL_SAFE_NO_PAD.decode(digits)).map_err(|_| explain(digits))?;
    Ok(decoded.into())
}

/// The text without its padding.
fn unpadded(text: &str) -> Result<&[u8], String> {
    let bytes = text.as_bytes();
    let digits = match bytes {
        [digits @ .., b'=', b'='] | [digits @ .., b'='] => digits,
        _ => return Ok(bytes),
    };
    if bytes.len().is_multiple_of(4) {
        Ok(digits)
    } else {
        Err(format!("padding at a length of {}, which is no multiple of 4", bytes.len()))
    }
}

/// Why neither alphabet fits.
fn explain(digits: &[u8]) -> String {
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
    if let Some((offset, byte)) = digits.iter().enumerate().find(|(_, byte)| !is_digit(**byte)) {
        return format!("the byte 0x{byte:02x} at offset {offset}");
    }
    if digits.len() % 4 == 1 {
        return format!("{} digits, a length that no base64 has", digits.len());
    }
    let has = |pair: [u8; 2]| digits.iter().any(|byte| pair.contains(byte));
    if has(*b"+/") && has(*b"-_") {
        "characters of both alphabets, the standard and the URL-safe".to_owned()
    } else {
        "last bits that are not zero".to_owned()
    }
}
