//! Messages to publish: one from the command line, or a file's lines.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::flags::Publish;
use infra::limits::{MAX_ATTRIBUTES, MAX_DATA, MAX_NAME, MAX_ORDERING_KEY, MAX_VALUE, is_reserved};
use infra::text::not_utf8_text;

/// The longest data: the default of what the function fetches for a claim check.
const MAX_DATA_BYTES: u64 = function::payload::MAX_PAYLOAD_BYTES;
/// The longest line: such data with every quote escaped, and attributes.
const MAX_LINE_BYTES: u64 = 2 * MAX_DATA_BYTES;

/// A byte-order mark in UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

/// A message to publish.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NewMessage {
    pub(super) data: Bytes,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) ordering_key: String,
}

/// Where messages come from.
pub(super) enum Source {
    One { item: NewMessage, count: u64 },
    Lines { path: PathBuf, defaults: NewMessage },
}

/// A line of a file. A field that is `null` is not set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    attributes: Option<BTreeMap<String, Option<String>>>,
    #[serde(rename = "orderingKey", alias = "ordering_key")]
    ordering_key: Option<String>,
}

impl NewMessage {
    /// Bytes, as Pub/Sub counts them.
    pub(super) fn size(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.data.len() + attributes + self.ordering_key.len()
    }

    /// Whether it fits into a message.
    pub(super) fn fits(&self) -> bool {
        self.size() <= MAX_DATA
    }

    fn check(&self) -> Result<()> {
        ensure!(
            !self.data.is_empty() || !self.attributes.is_empty(),
            "a message has data or an attribute, and this one has neither"
        );
        ensure!(
            self.data.len() as u64 <= MAX_DATA_BYTES,
            "{} bytes of data, at most {MAX_DATA_BYTES} are taken",
            self.data.len()
        );
        ensure!(
            self.attributes.len() <= MAX_ATTRIBUTES,
            "{} attributes, and Pub/Sub takes {MAX_ATTRIBUTES}",
            self.attributes.len()
        );
        ensure!(self.ordering_key.len() <= MAX_ORDERING_KEY, "an ordering key has at most {MAX_ORDERING_KEY} bytes");
        for (name, value) in &self.attributes {
            let short: String = name.chars().take(40).collect();
            ensure!(
                (1..=MAX_NAME).contains(&name.len()) && value.len() <= MAX_VALUE,
                "attribute {short:?}: Pub/Sub takes names of 1 to {MAX_NAME} bytes and values of at most {MAX_VALUE}"
            );
            ensure!(!is_reserved(name), "attribute {short:?}: names that begin with `goog` are Google's");
        }
        Ok(())
    }
}

impl Source {
    /// The source that the command line names. The data of a single message is read and checked.
    pub(super) fn open(arguments: &Publish) -> Result<Self> {
        let mut item = NewMessage {
            data: Bytes::new(),
            attributes: arguments.attribute.iter().cloned().collect(),
            ordering_key: arguments.ordering_key.clone().unwrap_or_default(),
        };
        if let Some(path) = &arguments.file {
            return Ok(Self::Lines { path: path.clone(), defaults: item });
        }
        let data = arguments.data.as_deref().unwrap_or_default();
        item.data = match data.strip_prefix('@') {
            Some(path) => whole(open(Path::new(path))?, path)?,
            None if data == "-" => whole(std::io::stdin().lock(), "standard input")?,
            None => data.to_owned().into(),
        };
        item.check()?;
        Ok(Self::One { item, count: arguments.count })
    }

    /// Checks every message of a source that can be read twice, and returns how many there are; `None` for a pipe.
    pub(super) fn check(&self) -> Result<Option<u64>> {
        match self {
            Self::One { count, .. } => Ok(Some(*count)),
            Self::Lines { path, defaults } => {
                // A pipe can be read once only.
                if is_stdin(path) || !std::fs::metadata(path).is_ok_and(|file| file.is_file()) {
                    return Ok(None);
                }
                let mut count = 0;
                for item in Lines::new(open(path)?, path, defaults) {
                    item.context("nothing was published")?;
                    count += 1;
                }
                Ok(Some(count))
            }
        }
    }

    /// Passes one message after the other to `take`, until that returns false or a message cannot be read.
    pub(super) fn each(self, mut take: impl FnMut(Result<NewMessage>) -> bool) {
        match self {
            Self::One { item, count } => {
                for _ in 0..count {
                    if !take(Ok(item.clone())) {
                        return;
                    }
                }
            }
            Self::Lines { path, defaults } => {
                let reader: Result<Box<dyn BufRead>> = if is_stdin(&path) {
                    Ok(Box::new(std::io::stdin().lock()))
                } else {
                    open(&path).map(|file| Box::new(file) as Box<dyn BufRead>)
                };
                match reader {
                    Ok(reader) => {
                        for item in Lines::new(reader, &path, &defaults) {
                            let last = item.is_err();
                            if !take(item) || last {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        take(Err(error));
                    }
                }
            }
        }
    }
}

/// The messages of a file's lines. Empty lines are skipped, but counted in line numbers.
struct Lines<'a, R> {
    reader: R,
    path: &'a Path,
    defaults: &'a NewMessage,
    number: u64,
}

impl<'a, R: BufRead> Lines<'a, R> {
    fn new(reader: R, path: &'a Path, defaults: &'a NewMessage) -> Self {
        Self { reader, path, defaults, number: 0 }
    }

    fn line(&mut self) -> Result<Option<NewMessage>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.number += 1;
            if self.reader.by_ref().take(MAX_LINE_BYTES + 1).read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            ensure!(line.len() as u64 <= MAX_LINE_BYTES, "the line is longer than {MAX_LINE_BYTES} bytes");
            // Windows programs write a byte-order mark before a text.
            let line = line.strip_prefix(BOM).filter(|_| self.number == 1).unwrap_or(&line);
            if !line.trim_ascii().is_empty() {
                return read(line, self.defaults).map(Some);
            }
        }
    }
}

impl<R: BufRead> Iterator for Lines<'_, R> {
    type Item = Result<NewMessage>;

    fn next(&mut self) -> Option<Result<NewMessage>> {
        let item = self.line();
        item.map_err(|error| anyhow!("{}:{}: {error:#}", self.path.display(), self.number)).transpose()
    }
}

fn read(line: &[u8], defaults: &NewMessage) -> Result<NewMessage> {
    let right = r#"a line is {"data": …, "attributes": {"name": "value"}, "orderingKey": "…"}"#;
    if let Some(found) = not_utf8_text(line) {
        bail!("it looks like {found}");
    }
    // serde would take an array for the fields in their order.
    ensure!(line.trim_ascii_start().starts_with(b"{"), "no JSON object; {right}");
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        // Read it again with the path of the field. That is slower, so it is done for errors only.
        let named = serde_path_to_error::deserialize::<_, Line<'_>>(&mut serde_json::Deserializer::from_slice(line));
        named.err().map_or_else(|| anyhow!("{error}; {right}"), |error| anyhow!("{error}; {right}"))
    })?;
    let data = match line.data.map(RawValue::get) {
        None => Bytes::new(),
        Some(text) if text.starts_with('"') => serde_json::from_str::<String>(text)?.into(),
        Some(json) => json.to_owned().into(),
    };
    let mut attributes = defaults.attributes.clone();
    let own = line.attributes.unwrap_or_default();
    attributes.extend(own.into_iter().filter_map(|(name, value)| Some((name, value?))));
    let ordering_key = line.ordering_key.filter(|key| !key.is_empty());
    let ordering_key = ordering_key.unwrap_or_else(|| defaults.ordering_key.clone());
    let item = NewMessage { data, attributes, ordering_key };
    item.check()?;
    Ok(item)
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn open(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::new(File::open(path).with_context(|| format!("reading {}", path.display()))?))
}

fn whole(reader: impl Read, name: &str) -> Result<Bytes> {
    let mut data = Vec::new();
    reader.take(MAX_DATA_BYTES + 1).read_to_end(&mut data).with_context(|| format!("reading {name}"))?;
    if data.len() as u64 > MAX_DATA_BYTES {
        bail!("{name} is longer than {MAX_DATA_BYTES} bytes, the most that is taken as one message's data");
    }
    Ok(data.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, defaults: &NewMessage) -> Result<Vec<NewMessage>> {
        Lines::new(text.as_bytes(), Path::new("work.ndjson"), defaults).collect()
    }

    fn item(data: &str, attributes: &[(&str, &str)], key: &str) -> NewMessage {
        NewMessage {
            data: data.to_owned().into(),
            attributes: attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
            ordering_key: key.to_owned(),
        }
    }

    #[test]
    fn texts_are_taken_as_they_are_and_other_json_as_it_is_written() {
        let text = r#"{"data": "a\n\"é\"", "attributes": {"task": "embed"}}

            {"data": {"input": 1.50, "n": 12345678901234567890123}, "orderingKey": "k"}
            {"attributes": {"only": "this"}}"#;
        let found = lines(text, &item("", &[("task", "classify")], "d")).unwrap();
        assert_eq!(
            found,
            [
                item("a\n\"é\"", &[("task", "embed")], "d"),
                item(r#"{"input": 1.50, "n": 12345678901234567890123}"#, &[("task", "classify")], "k"),
                item("", &[("only", "this"), ("task", "classify")], "d"),
            ]
        );
    }

    #[test]
    fn what_is_null_is_not_set_and_a_byte_order_mark_is_no_text() {
        let defaults = item("", &[("task", "classify")], "d");
        let plain = r#"{"data": "x", "attributes": {"kind": "ticket"}}"#;
        let expected = [item("x", &[("kind", "ticket"), ("task", "classify")], "d")];
        for line in [
            plain,
            r#"{"data": "x", "attributes": {"kind": "ticket"}, "orderingKey": null}"#,
            r#"{"data": "x", "attributes": {"kind": "ticket"}, "ordering_key": null}"#,
            r#"{"data": "x", "attributes": {"kind": "ticket", "task": null, "other": null}}"#,
        ] {
            assert_eq!(lines(line, &defaults).unwrap(), expected, "{line}");
        }
        for line in [r#"{"data": null, "attributes": {"a": "b"}}"#, r#"{"attributes": {"a": "b"}}"#] {
            assert_eq!(lines(line, &item("", &[], "")).unwrap(), [item("", &[("a", "b")], "")], "{line}");
        }
        assert_eq!(lines(r#"{"data": "x", "attributes": null}"#, &item("", &[], "")).unwrap(), [item("x", &[], "")]);
        for text in [format!("\u{feff}{plain}\n"), format!("\u{feff}{plain}\r\n"), format!("\u{feff}\r\n\r\n{plain}")] {
            assert_eq!(lines(&text, &defaults).unwrap(), expected, "{text:?}");
        }
        let wide: Vec<u8> = plain.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let found: Result<Vec<NewMessage>> = Lines::new(&wide[..], Path::new("work.ndjson"), &defaults).collect();
        assert!(found.unwrap_err().to_string().starts_with("work.ndjson:1: it looks like UTF-16"));
    }

    #[test]
    fn a_wrong_line_is_refused_with_its_number_and_what_is_right() {
        let long = format!(r#"{{"data": "x", "attributes": {{"a": "{}"}}}}"#, "v".repeat(1025));
        for (line, right) in [
            ("{\"data\": ", "EOF"),
            ("[1]", "\"orderingKey\""),
            (r#"{"text": "x"}"#, "unknown field `text`"),
            (r#"{"data": "x", "attributes": {"n": 1}}"#, "expected a string"),
            (r#"{"data": "x", "attributes": {"n": 1}}"#, "attributes.n: "),
            (r#"{"data": "x", "orderingKey": 1}"#, "orderingKey: "),
            (r#"{"data": ""}"#, "neither"),
            (r#"{"data": "x", "attributes": {"googclient": ""}}"#, "goog"),
            (&long, "at most 1024"),
        ] {
            let text = format!("{{\"data\": \"fine\"}}\n\n{line}\n");
            let error = lines(&text, &item("", &[], "")).unwrap_err().to_string();
            assert!(error.starts_with("work.ndjson:3: ") && error.contains(right), "{error}");
        }
    }

    /// How it is run: the crate `fuzz`.
    #[test]
    fn fuzzed_lines_are_messages_that_pubsub_takes_or_refused() {
        const SEEDS: [&str; 3] = [
            "{\"data\": \"a\\n\u{e9}\", \"attributes\": {\"task\": \"embed\"}, \"orderingKey\": \"k\"}\n",
            "{\"data\": {\"input\": [1.50, null], \"n\": 12345678901234567890123}, \"ordering_key\": \"k\"}\r\n",
            "\n  {\"attributes\": {\"only\": \"this\"}}",
        ];
        fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
            |(first, second): &(fuzz::Damaged, fuzz::Damaged)| {
                let text = [first.bytes(&SEEDS, fuzz::JSON), second.bytes(&SEEDS, fuzz::JSON)].concat();
                let defaults = item("", &[("task", "embed")], "");
                for item in Lines::new(&text[..], Path::new("work.ndjson"), &defaults).take(100) {
                    match item {
                        Ok(item) => assert!(item.check().is_ok() && item.attributes.contains_key("task")),
                        Err(error) => assert!(error.to_string().starts_with("work.ndjson:")),
                    }
                }
            },
        );
    }

    #[test]
    fn a_message_holds_ten_megabytes_with_its_attributes() {
        let mut item = item("", &[("n", "v")], "key");
        item.data = vec![b'x'; MAX_DATA - 5].into();
        assert!(item.fits());
        item.data = vec![b'x'; MAX_DATA - 4].into();
        assert!(!item.fits());
    }
}
