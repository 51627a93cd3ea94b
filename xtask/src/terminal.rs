//! Colour, questions and progress, on a terminal only.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Context, Result, bail};

/// Whether the standard output takes colour: a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether somebody can answer a question.
pub(crate) fn can_ask() -> bool {
    stdin().is_terminal()
}

/// Asks a question that `--yes` answers.
///
/// # Errors
/// There is nobody to ask, or the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        bail!("nobody can be asked here: {question}\n  help: pass --yes");
    }
    let mut err = stderr();
    write!(err, "{question} [y/N] ").and_then(|()| err.flush()).context("asking on the terminal")?;
    let mut answer = String::new();
    stdin().read_line(&mut answer).context("reading the answer")?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => bail!("stopped: nothing was changed"),
    }
}

/// A runtime for what a verb does over the network.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("starting the runtime")?.block_on(work)
}
