//! Text as other systems write it: with a byte-order mark before it, or in another encoding than UTF-8.

use std::io;
use std::path::Path;

/// The text without the byte-order marks before it: they say how it is encoded and are no part of it.
pub fn without_bom(text: &str) -> &str {
    text.trim_start_matches('\u{feff}')
}

/// What bytes seem to be that should be UTF-8 text and start like something else, and what to do about it.
///
/// Without a byte-order mark, UTF-16 and UTF-32 show in the NULs among their first four bytes, which no text and no
/// JSON has.
pub fn not_utf8_text(bytes: &[u8]) -> Option<&'static str> {
    const UTF16: &str = "UTF-16 text: encode it as UTF-8";
    const UTF32: &str = "UTF-32 text: encode it as UTF-8";
    match bytes {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(UTF32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Some(UTF16),
        [0, 0, 0, (1..=255), ..] | [(1..=255), 0, 0, 0, ..] => Some(UTF32),
        [0, (1..=255), 0, (1..=255), ..] | [(1..=255), 0, (1..=255), 0, ..] => Some(UTF16),
        [0x1f, 0x8b, ..] => Some("gzip-compressed data: send it uncompressed"),
        _ => None,
    }
}

/// The text of some bytes, without the byte-order marks before it.
///
/// # Errors
/// They are not UTF-8 text: where, and what they look like.
pub fn utf8(bytes: &[u8]) -> Result<&str, String> {
    let found = not_utf8_text(bytes);
    match (std::str::from_utf8(bytes), found) {
        (Ok(text), None) => Ok(without_bom(text)),
        (Ok(_), Some(found)) => Err(format!("expected UTF-8 text, found {found}")),
        (Err(error), Some(found)) => {
            Err(format!("byte {} is invalid in UTF-8; it looks like {found}", error.valid_up_to()))
        }
        (Err(error), None) => Err(format!("byte {} is invalid in UTF-8", error.valid_up_to())),
    }
}

/// Reads a text file, without the byte-order marks before it.
///
/// # Errors
/// The file cannot be read, or is not UTF-8 text.
pub fn read(path: &Path) -> io::Result<String> {
    let bytes = std::fs::read(path)?;
    let text = utf8(&bytes).map_err(|why| io::Error::new(io::ErrorKind::InvalidData, why))?;
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_order_marks_are_no_text() {
        assert_eq!(utf8(b"\xef\xbb\xbf{}"), Ok("{}"));
        assert_eq!(utf8(b"\xef\xbb\xbf\xef\xbb\xbf{}"), Ok("{}"));
        assert_eq!(utf8("a\u{feff}b".as_bytes()), Ok("a\u{feff}b"));
        for text in ["", "a", "\u{feff}", "a\0", "\0a", "a\0bc", "\0\0\0\0"] {
            assert_eq!(utf8(text.as_bytes()), Ok(without_bom(text)), "{text:?}");
        }
    }

    #[test]
    fn other_encodings_are_named() {
        let json = "{\"input\": \"h\u{e9}\"}";
        let wide = |mark: bool, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
            let mark = mark.then_some(0xfeff);
            mark.into_iter().chain(json.encode_utf16()).flat_map(bytes).collect()
        };
        let wider = |mark: bool, bytes: fn(u32) -> [u8; 4]| -> Vec<u8> {
            let mark = mark.then_some(0xfeff);
            mark.into_iter().chain(json.chars().map(u32::from)).flat_map(bytes).collect()
        };
        for mark in [false, true] {
            for bytes in [wide(mark, u16::to_le_bytes), wide(mark, u16::to_be_bytes)] {
                assert!(utf8(&bytes).is_err_and(|why| why.contains("UTF-16")), "{bytes:?}");
            }
            for bytes in [wider(mark, u32::to_le_bytes), wider(mark, u32::to_be_bytes)] {
                assert!(utf8(&bytes).is_err_and(|why| why.contains("UTF-32")), "{bytes:?}");
            }
        }
        assert!(utf8(b"\x1f\x8b\x08\x00").is_err_and(|why| why.contains("gzip")));
        assert_eq!(utf8(b"ab\xff"), Err("byte 2 is invalid in UTF-8".to_owned()));
    }
}
