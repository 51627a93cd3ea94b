//! Colour and questions, on a terminal only; and the runtime of asynchronous verbs.

use std::io::{IsTerminal, Write, stderr, stdin, stdout};

use anyhow::{Context, Result, bail};

/// Whether the standard output takes colour: a terminal, and `NO_COLOR` is not set (<https://no-color.org>).
pub(crate) fn colour() -> bool {
    stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Whether questions can be asked.
pub(crate) fn can_ask() -> bool {
    stdin().is_terminal()
}

/// Asks a question that `--yes` answers.
///
/// # Errors
/// There is no terminal to ask on, or the answer is no.
pub(crate) fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !can_ask() {
        bail!("standard input is not a terminal, so this cannot be asked: {question}\n  help: pass --yes");
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

/// Runs the asynchronous part of a verb to its end.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.context("starting the runtime")?.block_on(work)
}
