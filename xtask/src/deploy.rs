//! `cargo xtask deploy`: build, plan, ask, apply.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use deploy::apply::{Outcome, Progress, apply};
use deploy::cloud::Google;
use deploy::plan::{Action, Plan, State};
use indicatif::{ProgressBar, ProgressStyle};
use infra::topology::human;

use crate::package::Binary;
use crate::plan::{Built, Compared, built, compare, connect};
use crate::{flags, outputs, terminal, topology};

pub(crate) fn run(flags: &flags::Deploy) -> Result<()> {
    let topology = topology::read(&flags.target.declaration)?;
    let binary = Binary::Compiled { cross: flags.cross.choice(), install: flags.yes };
    let Built { bytes, archive } = built(&flags.target, &topology, flags.archive.as_deref(), binary)?;
    terminal::block_on(async {
        let began = Instant::now();
        let mut google = connect(&flags.target).await?;
        let size = bytes.len() as u64;
        let bar = upload_bar(size);
        let shown = bar.clone();
        // A full bar makes room for the lines of other steps.
        let sent = move |so_far| if so_far < size { shown.set_position(so_far) } else { shown.finish_and_clear() };
        google.set_archive_content(archive, bytes, sent);
        let Compared { google, found, plan, missing, notes } = compare(google, &topology).await?;
        eprint!("{}", plan.text(terminal::colour()));
        notes.iter().for_each(|note| eprintln!("note: {note}"));
        ensure!(missing.is_empty(), "{}", missing.join("\n"));
        if !plan.is_empty() {
            let context = google.context();
            let place = format!("project `{}`, region `{}`", context.project, context.region);
            terminal::confirm(&format!("Deploy this to {place}?"), flags.yes)?;
            let help = "run `cargo xtask deploy` again: it goes on from what there is";
            let ended = run_steps(&google, &plan, &found, help).await;
            bar.finish_and_clear();
            ended?;
            eprintln!("Deployed in {:.1} s.", began.elapsed().as_secs_f64());
        }
        outputs::print(&outputs::read(&google, &topology).await?, flags.json);
        Ok(())
    })
}

/// Runs the steps with a line for each, and says how to go on where they did not all end well.
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

/// What an upload shows: a bar, on a terminal.
fn upload_bar(bytes: u64) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    ProgressBar::new(bytes).with_style(style())
}

fn style() -> ProgressStyle {
    let template = "  upload {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
