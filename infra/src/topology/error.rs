//! What is wrong with a declaration, shown as the compiler shows it.

use std::fmt;
use std::ops::Range;

use crate::nearest;

/// Everything that is wrong with a declaration, in the order of the file.
///
/// `Display` renders each error with its position, plain text without colour, an empty line between two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Errors(Vec<Error>);

/// One thing that is wrong with a declaration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// The file, as it was named to [`Topology::parse`](super::Topology::parse).
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// What is wrong, on what.
    pub message: String,
    /// Why; shown under the text that is wrong.
    pub label: String,
    /// What to do.
    pub help: Option<String>,
    excerpt: String,
    width: usize,
}

impl Errors {
    /// The errors, one or more.
    pub fn iter(&self) -> std::slice::Iter<'_, Error> {
        self.0.iter()
    }

    pub(super) fn one(file: &str, message: String, label: String, help: Option<String>) -> Self {
        let mut log = Log::default();
        log.add(0..0, message, label, help);
        Self(log.locate("", file))
    }
}

impl std::error::Error for Errors {}
impl std::error::Error for Error {}

impl fmt::Display for Errors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, column, message, label, help, excerpt, width } = self;
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        writeln!(f, "error: {message}")?;
        writeln!(f, "{gutter}--> {file}:{line}:{column}")?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{number} | {excerpt}")?;
        let marks = "^".repeat(*width);
        write!(f, "{gutter} | {:indent$}{marks} {label}", "", indent = column - 1)?;
        if let Some(help) = help {
            write!(f, "\n{gutter} = help: {help}")?;
        }
        Ok(())
    }
}

/// Collects errors while a file is read.
#[derive(Default)]
pub(super) struct Log(Vec<Problem>);

#[derive(PartialEq)]
struct Problem {
    span: Range<usize>,
    message: String,
    label: String,
    help: Option<String>,
}

impl Log {
    pub(super) fn add(
        &mut self,
        span: Range<usize>,
        message: impl Into<String>,
        label: impl Into<String>,
        help: impl Into<Option<String>>,
    ) {
        let (message, label, help) = (message.into(), label.into(), help.into());
        let problem = Problem { span, message, label, help };
        // An environment repeats what is wrong without it.
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_errors(self, text: &str, file: &str) -> Errors {
        Errors(self.locate(text, file))
    }

    fn locate(mut self, text: &str, file: &str) -> Vec<Error> {
        self.0.sort_by_key(|problem| problem.span.start);
        let located = |problem: Problem| {
            let start = text.floor_char_boundary(problem.span.start);
            let end = text.floor_char_boundary(problem.span.end).max(start);
            let (before, after) = text.split_at(start);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            let line_end = start + after.find('\n').unwrap_or(after.len());
            let count = |range: Range<usize>| text[range].chars().count();
            Error {
                file: file.to_owned(),
                line: before.matches('\n').count() + 1,
                column: count(line_start..start) + 1,
                message: problem.message,
                label: problem.label,
                help: problem.help,
                excerpt: text[line_start..line_end].trim_end().replace('\t', " "),
                width: count(start..end.min(line_end)).max(1),
            }
        };
        self.0.into_iter().map(located).collect()
    }
}

/// "did you mean", or else the list of all words.
pub(super) fn suggest<'w>(word: &str, kind: &str, words: impl Iterator<Item = &'w str>) -> String {
    let words: Vec<_> = words.collect();
    if let Some(nearest) = nearest(word, &words) {
        return format!("did you mean `{nearest}`?");
    }
    let list: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    if list.is_empty() { format!("there are no {kind}") } else { format!("{kind}: {}", list.join(", ")) }
}
