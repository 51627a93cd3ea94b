//! The steps of a plan, run with a line for each.

use std::time::Duration;

use anyhow::{Result, bail};
use deploy::apply::{Outcome, Progress, apply};
use deploy::cloud::Google;
use deploy::plan::{Action, Plan, State};
use infra::topology::human;

/// Runs the steps with a line for each.
///
/// # Errors
/// The steps that failed, or that they were stopped, and `help`: how to go on.
pub(crate) async fn run_steps(google: &Google, plan: &Plan, found: &State, help: &str) -> Result<()> {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        eprintln!("Stopping after the steps that are at work …");
    };
    let Outcome { done, failed, left } = apply(google, plan, found, interrupted, &show).await;
    if failed.is_empty() && left == 0 {
        return Ok(());
    }
    let mut message = if failed.is_empty() { "stopped".to_owned() } else { String::new() };
    for (id, error) in &failed {
        message.push_str(&format!("{}{id}: {error}", if message.is_empty() { "" } else { "\n  " }));
    }
    bail!("{message}\n  {done} steps are done, {left} were not begun\n  help: {help}")
}

fn show(progress: Progress<'_>) {
    let word = |action: &Action| match action {
        Action::Create => "created",
        Action::Update(_) => "updated",
        Action::Replace { .. } => "replaced",
        Action::Delete => "deleted",
        Action::Nothing => "left",
    };
    match progress {
        Progress::Started(_) => {}
        Progress::Waiting(step, cause, error) => eprintln!(
            "  … {} waits for {}, for up to {}: {error}",
            step.id,
            cause.waits_for(),
            human(cause.patience().as_secs())
        ),
        Progress::Done(step, took) => eprintln!("  ✓ {} {} ({})", step.id, word(&step.action), seconds(took)),
        Progress::Failed(step, error) => eprintln!("  ✗ {}: {error}", step.id),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
