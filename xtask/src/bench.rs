//! `cargo xtask bench`: how fast the encoder, the service and the code around the model are, compared with other
//! software in the same run.
//!
//! - `encoder`: the forward pass; `http`: load on a function; `path`: everything but the model; `batcher`: what
//!   batching gains
//! - `workload`: the texts; `load`: the load generator; `histogram`: its latencies; `measure`: medians and progress
//! - `server`: servers started for a measurement; `peers`: other software that does the same work
//! - `report`: the results as text and JSON; `svg`: as a picture

mod batcher;
mod encoder;
mod histogram;
mod http;
mod load;
mod measure;
mod path;
mod peers;
mod report;
mod server;
mod svg;
mod workload;

use anyhow::{Context, Result};

use crate::flags::bench::{Bench, Benchmark, Encoder, Http};
use report::BenchReport;

pub(crate) fn run(flags: &Bench) -> Result<()> {
    if !server::usage_is_measured() {
        eprintln!("note: CPU times and memory are measured on Linux only; figures made of them are 0, or no numbers");
    }
    let report = match &flags.benchmark {
        Some(Benchmark::Encoder(own)) => encoder::run(own, flags)?,
        Some(Benchmark::Http(own)) => http::run(own, flags)?,
        Some(Benchmark::Path) => path::run(flags)?,
        Some(Benchmark::Batcher) => batcher::run(flags)?,
        None => BenchReport::all([
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
