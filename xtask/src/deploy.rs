//! `cargo xtask deploy`: build, plan, ask, apply.

use std::io::IsTerminal;
use std::time::Instant;

use anyhow::{Result, ensure};
use indicatif::{ProgressBar, ProgressStyle};

use crate::deployment::{Built, Compared, build, compare, connect, outputs, run_steps};
use crate::package::Binary;
use crate::{flags, terminal, topology};

pub(crate) fn run(flags: &flags::Deploy) -> Result<()> {
    let topology = topology::read(&flags.target.declaration)?;
    let binary = Binary::Compiled { cross: flags.cross.choice(), install: flags.yes };
    let Built { bytes, archive } = build(&flags.target, &topology, flags.archive.as_deref(), binary)?;
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
            let to = format!("project `{}`, region `{}`", context.project, context.region);
            terminal::confirm(&format!("Deploy this to {to}?"), flags.yes)?;
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
