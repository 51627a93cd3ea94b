//! `cargo xtask deploy`: build, plan, ask, apply.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use infra::apply::{Outcome, Progress, Upload, apply};
use infra::cloud::{CloudError, Google};
use infra::plan::{Action, Plan, State};

use crate::plan::{Built, Compared, built, compare};
use crate::{flags, outputs, terminal, topology};

pub(crate) fn run(flags: &flags::Deploy) -> Result<()> {
    let topology = topology::read(flags.place.topology.as_deref(), flags.place.env.as_deref())?;
    let built = built(&flags.place, flags.archive.as_deref())?;
    terminal::block_on(async {
        let began = Instant::now();
        let Compared { google, found, plan } = compare(&flags.place, &topology, Some(&built.archive)).await?;
        eprint!("{}", plan.text(terminal::colour()));
        if !plan.is_empty() {
            let context = google.context();
            let place = format!("project `{}`, region `{}`", context.project, context.region);
            terminal::confirm(&format!("Deploy this to {place}?"), flags.yes)?;
            execute(&google, &plan, &found, &built, &topology).await?;
            eprintln!("Deployed in {:.1} s.", began.elapsed().as_secs_f64());
        }
        outputs::print(&outputs::read(&google, &topology).await?, flags.json);
        Ok(())
    })
}

/// Runs the steps, and says how to go on where they did not all end well.
pub(crate) async fn execute(
    google: &Google,
    plan: &Plan,
    found: &State,
    built: &Built,
    topology: &infra::topology::Topology,
) -> Result<()> {
    let bucket = topology.archive.as_ref().map(|archive| archive.bucket(&google.context().project));
    let archive = ArchiveUpload { bucket: bucket.unwrap_or_default(), built };
    run_steps(google, plan, found, &archive, "run `cargo xtask deploy` again: it goes on from what there is").await
}

/// Runs the steps with a line for each.
pub(crate) async fn run_steps<U: Upload>(
    google: &Google,
    plan: &Plan,
    found: &State,
    archive: &U,
    help: &str,
) -> Result<()> {
    let interrupted = async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        eprintln!("Stopping after the steps that are at work …");
    };
    let Outcome { done, failed, left } = apply(google, plan, found, archive, interrupted, &show).await;
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
        Progress::Waiting(step, error) => eprintln!("  … {}: trying again, {error}", step.id),
        Progress::Done(step, took) => eprintln!("  ✓ {} {} ({})", step.id, word(&step.action), seconds(took)),
        Progress::Failed(step, error) => eprintln!("  ✗ {}: {error}", step.id),
    }
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

struct ArchiveUpload<'b> {
    bucket: String,
    built: &'b Built,
}

impl Upload for ArchiveUpload<'_> {
    async fn upload(&self, google: &Google) -> Result<(), CloudError> {
        let Built { bytes, archive } = self.built;
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(bytes.len() as u64).with_style(style())
        } else {
            ProgressBar::hidden()
        };
        let shown = bar.clone();
        let sent = move |so_far: u64| shown.set_position(so_far);
        let answer = google.storage().upload(&self.bucket, &archive.object(), bytes.clone(), sent).await;
        bar.finish_and_clear();
        answer
    }
}

fn style() -> ProgressStyle {
    let template = "  upload {bar:40} {bytes} of {total_bytes}, {bytes_per_sec}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}
