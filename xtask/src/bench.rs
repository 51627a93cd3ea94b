//! `cargo xtask bench`: how fast the encoder, the service and the parts around the model are, beside others in the same run.
//!
//! - `encoder`: the forward pass; `http`: load on a function; `path`: everything but the model; `batcher`
//! - `workload`: the texts; `load`: the load generator; `histogram`: its latencies
//! - `server`: servers started for a measurement; `peers`: what others do with the same work
//! - `report`: what was found, as text, JSON and (`svg`) a picture

mod batcher;
mod encoder;
mod histogram;
mod http;
mod load;
mod path;
mod peers;
mod report;
mod server;
mod svg;
mod workload;

use std::io::IsTerminal;

use anyhow::{Context, Result};

use crate::flags::bench::{Bench, Encoder, Http, What};
use report::Report;

pub(crate) fn run(flags: &Bench) -> Result<()> {
    if !server::usage_is_measured() {
        eprintln!("note: CPU times and memory are measured on Linux only; figures made of them are 0, or no numbers");
    }
    let report = match &flags.what {
        Some(What::Encoder(own)) => encoder::run(own, flags)?,
        Some(What::Http(own)) => http::run(own, flags)?,
        Some(What::Path) => path::run(flags)?,
        Some(What::Batcher) => batcher::run(flags)?,
        None => Report::all([
            encoder::run(&Encoder::default(), flags)?,
            http::run(&Http::default(), flags)?,
            path::run(flags)?,
            batcher::run(flags)?,
        ]),
    };
    if let Some(file) = &flags.svg {
        std::fs::write(file, svg::bars(&report.ratios)).with_context(|| format!("writing {}", file.display()))?;
    }
    if flags.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.text);
    }
    Ok(())
}

/// Says on a terminal what is being done.
fn progress(what: impl std::fmt::Display) {
    if std::io::stderr().is_terminal() {
        eprintln!("{what} …");
    }
}

/// The middle value, or the mean of the two in the middle; 0 of none.
fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
