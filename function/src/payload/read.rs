//! Reads a payload: the fields of a JSON object, or a text.
//!
//! | the payload | is |
//! |---|---|
//! | begins with `{` and is a JSON object | its fields, whatever content type it has |
//! | begins with `{`, is not JSON, and is declared as `text/…` | the text |
//! | begins with a placeholder: `{name}`, `{{name}}`, `{% if … %}`, `{# … #}` | the text |
//! | begins with `{` and is none of these | rejected: it was meant as JSON, and a text that is half JSON is of no use |
//! | begins with anything else, `[`, `"` and digits too | the text, as it is |
//! | is UTF-16, UTF-32, compressed, or otherwise not UTF-8 | rejected |
//!
//! Blanks and byte-order marks before the first character are skipped. A byte-order mark before a payload is not part
//! of it. A text that is rejected so can be sent as `{"input": "{…"}`, or with the content type `text/plain`: a
//! CloudEvent's `datacontenttype` or `content-type` header, or a Pub/Sub message's attribute `content-type`.

use serde::de::{DeserializeOwned, IgnoredAny};

use crate::{Message, Outcome, json};

/// The content of a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload<'a, T> {
    /// The fields of a JSON object.
    Object(T),
    /// Any other text.
    Text(&'a str),
}

/// Reads a message's payload: as the fields of a `T` where it is a JSON object, else as a text.
///
/// A field of `T` that is an `Option` may be left out or `null`. Fields that `T` does not have are ignored.
///
/// ```
/// use function::payload::{Payload, read};
/// use function::Message;
///
/// #[derive(serde::Deserialize)]
/// struct Fields {
///     input: String,
///     language: Option<String>,
/// }
///
/// let message = |data: &'static str| Message { data: data.into(), ..Message::default() };
/// assert!(matches!(read::<Fields>(&message("hello")), Ok(Payload::Text("hello"))));
/// let object = message(r#"{"input": "hello", "language": null}"#);
/// assert!(matches!(read::<Fields>(&object), Ok(Payload::Object(Fields { language: None, .. }))));
/// assert!(read::<Fields>(&message(r#"{"input": "hello"#)).is_err());
/// ```
///
/// # Errors
/// [`Outcome::Rejected`] with the reason `bad-payload`, which names the field or the position, and what was expected.
pub fn read<T: DeserializeOwned>(message: &Message) -> Result<Payload<'_, T>, Outcome> {
    let text = text(message)?;
    let begin = text.trim_start_matches(is_blank);
    if !begin.starts_with('{') {
        return Ok(Payload::Text(text));
    }
    let error = match json::parse(text) {
        Ok(fields) => return Ok(Payload::Object(fields)),
        Err(error) => error,
    };
    // The first thing that is wrong may be a field, and the rest no JSON at all.
    let syntax = match json::parse::<IgnoredAny>(text) {
        Ok(_) => return Err(rejected(format!("the payload's JSON object: {error}"))),
        Err(syntax) => syntax,
    };
    if message.is_text() || is_placeholder(begin) {
        return Ok(Payload::Text(text));
    }
    let error = if error.is_data { syntax } else { error };
    Err(rejected(format!(
        "the payload begins with `{{` and is no JSON object: {error}; send JSON, or a text that begins so as \
         {{\"input\": \"{{…\"}} or with the content type text/plain"
    )))
}

/// The text of a message's payload, without a byte-order mark before it.
///
/// # Errors
/// [`Outcome::Rejected`] with the reason `bad-payload` where it is not UTF-8 text.
pub fn text(message: &Message) -> Result<&str, Outcome> {
    infra::text::utf8(&message.data).map_err(|why| rejected(format!("the payload is not UTF-8 text: {why}")))
}

pub(crate) fn rejected(detail: impl Into<String>) -> Outcome {
    Outcome::rejected("bad-payload", detail)
}

/// Blanks, and what is as invisible at the start of a text.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{feff}' | '\u{200b}'..='\u{200f}' | '\u{2060}')
}

/// Whether a text that begins with `{` begins with a placeholder, as in templates and messages for people. The
/// beginning of an object in some language is not one: quotes, keys, an immediate end.
fn is_placeholder(begin: &str) -> bool {
    let inner = begin.strip_prefix('{').unwrap_or(begin);
    if inner.starts_with(['%', '#']) {
        return true;
    }
    if let Some(inner) = inner.strip_prefix('{') {
        return !inner.trim_start().is_empty() && !inner.trim_start().starts_with(['"', '\'', '\\', '}']);
    }
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$');
    let after = inner.trim_start_matches(in_name);
    after.len() < inner.len() && after.starts_with('}')
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Fields {
        input: String,
        n: Option<u8>,
    }

    fn message(data: impl AsRef<[u8]>, content_type: &str) -> Message {
        Message { data: data.as_ref().to_vec().into(), content_type: content_type.to_owned(), ..Message::default() }
    }

    #[track_caller]
    fn detail(message: &Message) -> String {
        match read::<Fields>(message) {
            Err(Outcome::Rejected { reason: "bad-payload", detail }) => detail,
            other => panic!("{message:?} is {other:?}"),
        }
    }

    const OBJECT: &str = r#"{"input": "hé", "other": [NULL]}"#;

    #[test]
    fn a_byte_order_mark_is_no_part_of_a_payload() {
        let object = OBJECT.replace("NULL", "null");
        let fields = || Payload::Object(Fields { input: "hé".to_owned(), n: None });
        for before in ["", "\u{feff}", "\u{feff}\u{feff}", "\u{feff}\r\n ", "\n"] {
            assert_eq!(read(&message(format!("{before}{object}"), "")), Ok(fields()), "{before:?}");
        }
        for (data, text) in [("\u{feff}hello", "hello"), ("\u{feff}", ""), ("a\u{feff}b", "a\u{feff}b"), (" a ", " a ")]
        {
            assert_eq!(read::<Fields>(&message(data, "")), Ok(Payload::Text(text)), "{data:?}");
        }
    }

    #[test]
    fn what_is_meant_as_json_and_is_none_is_rejected_with_its_place() {
        for (data, says) in [
            (r#"{"input": "x"#, "line 1 column 12"),
            (r#"{"input": "x",}"#, "trailing comma"),
            (r#"{"input": "x"}}"#, "trailing characters at line 1 column 15"),
            (r#"{"input": "x"} {"input": "y"}"#, "trailing characters"),
            (r#"{"input": "x"}garbage"#, "trailing characters"),
            (r#"{"input": "x", "n": NaN}"#, "`n`: expected value at line 1 column 21"),
            (r#"{"input": NaN}"#, "`input`: expected value"),
            ("{'input': 'x'}", "line 1 column 2"),
            ("{u'input': u'x', 'n': None}", "column 2"),
            ("{input: \"x\"}", "column 2"),
            ("{input=x}", "column 2"),
            (r#"{\"input\": \"x\"}"#, "column 2"),
            ("{\u{201c}input\u{201d}: \u{201c}x\u{201d}}", "column 2"),
            ("{// a comment\n\"input\": \"x\"}", "column 2"),
            (r#"{{"input": "x"}}"#, "column 2"),
            ("{'{name}'}", "column 2"),
            ("{", "EOF"),
            ("{ \n", "EOF"),
            ("{{", "column 2"),
            ("{} trailing", "trailing characters"),
            (r#"{"input": 5} trailing"#, "trailing characters"),
            ("{} ,", "trailing characters"),
            ("{not json}", "column 2"),
            ("\u{feff} {\"input\": ", "EOF"),
            ("\u{a0}{\"input\": \"x\"}", "line 1 column 1"),
            ("\u{200b}{\"input\": \"x\"}", "line 1 column 1"),
            ("{\"input\": \"a\u{1}\"}", "control character"),
            ("{\"input\": \"x\"}\0", "trailing characters"),
        ] {
            let said = detail(&message(data, ""));
            assert!(said.contains(says) && said.contains("text/plain"), "{data}: {said}");
            assert_eq!(detail(&message(data, "application/json")), said);
            for text in ["text/plain", "Text/Plain; charset=utf-8", " text/markdown"] {
                let message = message(data, text);
                let plain = infra::text::without_bom(data);
                assert_eq!(read::<Fields>(&message), Ok(Payload::Text(plain)), "{data}");
            }
            let mut message = message(data, "");
            message.attributes.insert("content-type".to_owned(), "text/plain".to_owned());
            assert!(matches!(read::<Fields>(&message), Ok(Payload::Text(_))), "{data}");
        }
        // JSON's grammar allows half of a surrogate pair: this is an object, with a field that cannot be read.
        assert!(detail(&message(r#"{"input": "\ud800"}"#, "")).contains("`input`: "));
        let deep = format!("{{\"input\": {}", "[".repeat(100_000));
        assert!(detail(&message(deep, "")).contains("text/plain"));
    }

    #[test]
    fn texts_stay_texts() {
        for data in [
            "",
            "  ",
            "hello",
            "{name} is missing",
            "{name}",
            "{0} of {1}",
            "{user.first-name}, hello",
            "{{ name }}, hello",
            "{{name}}",
            "{% if x %}",
            "{# note #}",
            "[1, 2]",
            "[not json",
            "\"quoted\"",
            "\"half",
            "12",
            "NaN",
            "null",
            "true",
            "text with {\"json\": 1}",
            "}",
        ] {
            for kind in ["", "application/json", "text/plain"] {
                assert_eq!(read::<Fields>(&message(data, kind)), Ok(Payload::Text(data)), "{data}");
            }
        }
    }

    #[test]
    fn errors_name_the_field_and_what_was_found() {
        for (data, says) in [
            (r#"{"input": null}"#, "`input`: invalid type: null, expected a string"),
            (r#"{"input": 5}"#, "`input`: invalid type: integer `5`"),
            (r#"{"input": "x", "n": "1"}"#, "`n`: invalid type: string \"1\""),
            (r#"{"input": "x", "n": 256}"#, "`n`: invalid value: integer `256`"),
            (r#"{"input": "x", "input": "y"}"#, "duplicate field `input`"),
            ("{}", "missing field `input`"),
        ] {
            for kind in ["", "text/plain"] {
                let said = detail(&message(data, kind));
                assert!(said.contains(says), "{data}: {said}");
            }
        }
        let long = format!(r#"{{"input": "x", "n": "{}"}}"#, "long ".repeat(10_000));
        assert!(detail(&message(long, "")).len() < 500);
    }

    #[test]
    fn other_encodings_are_rejected_by_name() {
        let json = OBJECT.replace("NULL", "null");
        let wide = |bytes: fn(u16) -> [u8; 2]| json.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
        for (data, says) in [
            (wide(u16::to_le_bytes), "UTF-16"),
            (wide(u16::to_be_bytes), "UTF-16"),
            ([&b"\xff\xfe"[..], &wide(u16::to_le_bytes)].concat(), "UTF-16"),
            (json.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect(), "UTF-32"),
            (b"\x1f\x8b\x08\0\0\0".to_vec(), "gzip"),
            (b"caf\xe9".to_vec(), "byte 3 is invalid"),
        ] {
            for kind in ["", "text/plain; charset=utf-16"] {
                let said = detail(&message(&data, kind));
                assert!(said.contains("not UTF-8 text") && said.contains(says), "{said}");
            }
        }
    }
}
