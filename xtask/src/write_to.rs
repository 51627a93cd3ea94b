//! Writes the result of a verb to a file or to standard output.

use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result};

/// Writes to the file, or to standard output if none is given.
pub(crate) fn write_to(file: Option<&Path>, text: &str) -> Result<()> {
    match file {
        Some(file) => std::fs::write(file, text).with_context(|| format!("writing {}", file.display())),
        None => match std::io::stdout().write_all(text.as_bytes()) {
            // The reader, such as `head`, has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
            written => written.context("writing to standard output"),
        },
    }
}
