//! Reads TOML tables so that every mistake is noted with its position and none hides the next.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::error::{Log, suggest};

/// A value of a TOML table with its position.
pub(super) type Value<'t> = Spanned<DeValue<'t>>;

/// Why a value is refused.
pub(super) struct ValueError {
    /// The reason, shown under the value.
    pub(super) label: String,
    /// What to do.
    pub(super) help: Option<String>,
    /// The part of the string that is wrong, in bytes, where it is not the whole.
    pub(super) part: Option<Range<usize>>,
}

impl ValueError {
    pub(super) fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), help: None, part: None }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A table that is being read. It remembers which keys were read: all others are unknown keys.
pub(super) struct Table<'t> {
    /// How errors name it, such as "topic `a`".
    pub(super) what: String,
    /// Where it is, for what is missing in it.
    pub(super) at: Range<usize>,
    table: &'t DeTable<'t>,
    text: &'t str,
    read: Vec<&'static str>,
}

impl<'t> Table<'t> {
    pub(super) fn root(table: &'t DeTable<'t>, text: &'t str) -> Self {
        Self { what: "the topology".to_owned(), at: 0..0, table, text, read: Vec::new() }
    }

    /// The table as it was parsed.
    pub(super) fn raw(&self) -> &'t DeTable<'t> {
        self.table
    }

    pub(super) fn get(&mut self, key: &'static str) -> Option<&'t Value<'t>> {
        self.read.push(key);
        self.table.get(key)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// The position of a key, or of the table if it lacks the key.
    pub(super) fn at_key(&self, key: &str) -> Range<usize> {
        self.table.get_key_value(key).map_or(self.at.clone(), |(key, _)| key.span())
    }

    pub(super) fn string(&mut self, key: &'static str, log: &mut Log) -> Option<&'t str> {
        self.parsed(key, log, Ok)
    }

    /// A string that the table must have.
    pub(super) fn required(&mut self, key: &'static str, help: &str, log: &mut Log) -> &'t str {
        if !self.has(key) {
            let message = format!("{} has no `{key}`", self.what);
            log.add(self.at.clone(), message, "needed here", help.to_owned());
        }
        self.string(key, log).unwrap_or_default()
    }

    /// A string that `parse` understands.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        log: &mut Log,
        parse: impl FnOnce(&'t str) -> Result<T, ValueError>,
    ) -> Option<T> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.mismatch(key, value, "a string", log);
            return None;
        };
        parse(text).map_err(|wrong| self.wrong(key, value, wrong, log)).ok()
    }

    pub(super) fn boolean(&mut self, key: &'static str, log: &mut Log) -> Option<bool> {
        let value = self.get(key)?;
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.mismatch(key, value, "`true` or `false`", log);
        }
        boolean
    }

    /// A whole number within `bounds`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        (low, high): (u32, u32),
        who: &str,
        log: &mut Log,
    ) -> Option<u32> {
        let value = self.get(key)?;
        let Some(integer) = value.get_ref().as_integer() else {
            self.mismatch(key, value, "a whole number", log);
            return None;
        };
        let number = u32::from_str_radix(integer.as_str(), integer.radix()).ok();
        let number = number.filter(|number| (low..=high).contains(number));
        if number.is_none() {
            self.wrong(key, value, ValueError::new(format!("{who} allows {low} to {high}")), log);
        }
        number
    }

    /// Strings that `parse` understands; none if it refuses one, so that an index means the same here and in the file.
    pub(super) fn list<T>(
        &mut self,
        key: &'static str,
        log: &mut Log,
        mut parse: impl FnMut(&'t str) -> Result<T, ValueError>,
    ) -> Vec<T> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.mismatch(key, value, "a list of strings", log);
            return Vec::new();
        };
        let mut list = Vec::new();
        let mut whole = true;
        for item in items.iter() {
            match item.get_ref().as_str().map(&mut parse) {
                Some(Ok(parsed)) => {
                    list.push(parsed);
                    continue;
                }
                Some(Err(wrong)) => self.wrong(key, item, wrong, log),
                None => self.mismatch(key, item, "a string", log),
            }
            whole = false;
        }
        if whole { list } else { Vec::new() }
    }

    /// A table of strings; `check` sees each name and text, and refuses the name or (`true`) the text.
    pub(super) fn pairs<T>(
        &mut self,
        key: &'static str,
        log: &mut Log,
        check: impl Fn(&str, &str) -> Result<T, (bool, ValueError)>,
    ) -> BTreeMap<String, T> {
        let mut pairs = BTreeMap::new();
        let Some(value) = self.get(key) else {
            return pairs;
        };
        let Some(table) = value.get_ref().as_table() else {
            self.mismatch(key, value, "a table of strings", log);
            return pairs;
        };
        for (name, value) in table {
            let Some(text) = value.get_ref().as_str() else {
                self.mismatch(key, value, "a string", log);
                continue;
            };
            match check(name.get_ref(), text) {
                Ok(checked) => drop(pairs.insert(name.get_ref().to_string(), checked)),
                Err((true, wrong)) => self.wrong(key, value, wrong, log),
                Err((false, ValueError { label, help, .. })) => {
                    let message = format!("impossible name in `{key}` of {}", self.what);
                    log.add(name.span(), message, label, help);
                }
            }
        }
        pairs
    }

    /// A table within.
    pub(super) fn table(&mut self, key: &'static str, log: &mut Log) -> Option<Self> {
        let value = self.get(key)?;
        let what = if self.at.is_empty() { format!("`{key}`") } else { format!("`{key}` of {}", self.what) };
        let at = self.at_key(key);
        self.inner(what, at, key, value, log)
    }

    /// The tables of a list.
    pub(super) fn tables(&mut self, key: &'static str, one: &str, log: &mut Log) -> Vec<Self> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            self.mismatch(key, value, "a list of tables", log);
            return Vec::new();
        };
        let mut tables = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let what = format!("{one} {} of {}", index + 1, self.what);
            tables.extend(self.inner(what, item.span(), key, item, log));
        }
        tables
    }

    /// The named tables within a table, in the order of the file.
    pub(super) fn entries(&mut self, key: &'static str, one: &str, log: &mut Log) -> Vec<(&'t str, Self)> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let Some(table) = value.get_ref().as_table() else {
            self.mismatch(key, value, &format!("a table for each {one}"), log);
            return Vec::new();
        };
        let mut entries = Vec::new();
        for (name, value) in table {
            let what = format!("{one} `{}`", name.get_ref());
            let inner = self.inner(what, name.span(), key, value, log);
            entries.extend(inner.map(|inner| (&**name.get_ref(), inner)));
        }
        entries.sort_by_key(|(_, inner)| inner.at.start);
        entries
    }

    /// Notes every key that was not read.
    pub(super) fn finish(self, log: &mut Log) {
        for key in self.table.keys() {
            let name: &DeString<'_> = key.get_ref();
            if !self.read.contains(&&**name) {
                let message = format!("unknown key `{name}` in {}", self.what);
                let help = suggest(name, "keys", self.read.iter().copied());
                log.add(key.span(), message, "not a key here", help);
            }
        }
    }

    /// Notes that a value is refused, at the part of it that is wrong where that can be told.
    pub(super) fn wrong(&self, key: &str, value: &Value<'_>, wrong: ValueError, log: &mut Log) {
        let mut span = value.span();
        let source = self.text.get(span.clone()).unwrap_or_default();
        if let (Some(part), Some(text)) = (wrong.part, value.get_ref().as_str()) {
            // Only without escapes do offsets in the value hold in the file.
            if let Some(quotes) = source.find(text) {
                let start = span.start + quotes + part.start;
                span = start..start + part.len();
            }
        }
        let message = format!("impossible `{key}` in {}", self.what);
        log.add(span, message, wrong.label, wrong.help);
    }

    pub(super) fn mismatch(&self, key: &str, value: &Value<'_>, expected: &str, log: &mut Log) {
        let label = format!("expected {expected}, found {}", kind(value));
        self.wrong(key, value, ValueError::new(label), log);
    }

    fn inner(&self, what: String, at: Range<usize>, key: &str, value: &'t Value<'t>, log: &mut Log) -> Option<Self> {
        let Some(table) = value.get_ref().as_table() else {
            self.mismatch(key, value, "a table", log);
            return None;
        };
        Some(Self { what, at, table, text: self.text, read: Vec::new() })
    }
}

fn kind(value: &Value<'_>) -> &'static str {
    match value.get_ref() {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a fraction",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// The position of what `path` leads to, or of the last step that exists; and whether all steps exist.
pub(super) fn locate(root: &DeTable<'_>, path: &[&str]) -> (Range<usize>, bool) {
    let mut span = 0..0;
    let mut inside = Some(root);
    let mut steps = path.iter();
    while let Some(step) = steps.next() {
        let Some((key, mut value)) = inside.and_then(|table| table.get_key_value(*step)) else {
            return (span, false);
        };
        span = if value.get_ref().is_table() { key.span() } else { value.span() };
        if let Some(items) = value.get_ref().as_array() {
            let Some(index) = steps.next() else { break };
            let Some(item) = index.parse().ok().and_then(|index: usize| items.get(index)) else {
                return (span, false);
            };
            value = item;
            span = value.span();
        }
        inside = value.get_ref().as_table();
    }
    (span, true)
}
