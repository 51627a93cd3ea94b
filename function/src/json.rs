//! Parsing JSON with errors that name the field.

use std::fmt;

use serde::Deserialize;
use serde_json::error::Category;

/// The most characters of a path that are shown.
const MAX_PATH_CHARS: usize = 48;
/// The most characters of a detail that are shown.
const MAX_DETAIL_CHARS: usize = 240;

/// Why a text is not the JSON that was expected. Always short and free of control characters.
#[derive(Debug)]
pub(crate) struct JsonError {
    /// It is JSON, of another shape.
    pub(crate) is_data: bool,
    /// Where in the value: `labels[2]`; empty where it is the value as a whole.
    pub(crate) path: String,
    /// The parser's words, with line and column.
    pub(crate) detail: String,
}

impl fmt::Display for JsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() { f.write_str(&self.detail) } else { write!(f, "`{}`: {}", self.path, self.detail) }
    }
}

impl std::error::Error for JsonError {}

/// Parses all of a text. Only a text that cannot be parsed is parsed a second time, to find where in it the error is.
pub(crate) fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    serde_json::from_str(text).map_err(|error| {
        let again = serde_path_to_error::deserialize::<_, T>(&mut serde_json::Deserializer::from_str(text));
        // `?` is a part that has no name yet, and `.` the whole.
        let path = again.err().map(|error| error.path().to_string()).unwrap_or_default();
        let path = path.trim_end_matches(['?', '.']);
        JsonError {
            is_data: error.classify() == Category::Data,
            path: shorten(path, MAX_PATH_CHARS),
            detail: shorten(&error.to_string(), MAX_DETAIL_CHARS),
        }
    })
}

/// A text without control characters; its start and its end where it is longer than `most` characters.
fn shorten(text: &str, most: usize) -> String {
    let mut plain = String::with_capacity(text.len());
    for character in text.chars() {
        if character.is_control() || is_invisible(character) {
            plain.extend(character.escape_unicode());
        } else {
            plain.push(character);
        }
    }
    let count = plain.chars().count();
    if count <= most {
        return plain;
    }
    let (start, end) = (plain.chars().take(most / 2), plain.chars().skip(count - most / 2));
    start.chain(['…']).chain(end).collect()
}

/// Characters that change how the text around them is shown.
fn is_invisible(character: char) -> bool {
    matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_are_short_and_printable() {
        #[derive(Debug, Deserialize)]
        struct Inner {
            #[allow(dead_code)]
            list: Vec<std::collections::BTreeMap<String, u8>>,
        }
        let error = |text: &str| parse::<Inner>(text).err().map(|error| (error.is_data, error.to_string()));
        let (is_data, text) = error(r#"{"list": [{"a": 1}, {"b": null}]}"#).unwrap_or_default();
        assert!(is_data && text.starts_with("`list[1].b`: invalid type: null, expected u8"), "{text}");
        let (is_data, text) = error(r#"{"list": [{"a": 1}, {"b": nul"#).unwrap_or_default();
        assert!(!is_data && text.starts_with("`list[1].b`: "), "{text}");
        let long = "\\u202e\\u0007x".repeat(1000);
        let (_, text) = error(&format!(r#"{{"list": [{{"{long}": "{long}"}}]}}"#)).unwrap_or_default();
        assert!(text.chars().count() < 400 && text.ends_with(|c: char| c.is_ascii_digit()), "{text}");
        assert!(!text.contains(|c: char| c.is_control() || c == '\u{202e}'), "{text:?}");
        let (_, text) = error("{'list': []}").unwrap_or_default();
        assert!(text.starts_with("key must be a string"), "{text}");
        assert_eq!(error("[]").map(|(_, text)| text.contains('`')), Some(false));
    }
}
