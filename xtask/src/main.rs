//! `cargo xtask`: everything about the project that is not the function itself. One verb, one file; `flags` is the whole
//! command line.

mod bench;
mod build;
mod cargo;
mod deploy;
mod destroy;
mod dev;
mod digest;
mod dlq;
mod doctor;
mod export;
mod flags;
mod graph;
mod model;
mod outputs;
mod package;
mod plan;
mod publish;
mod pubsub_client;
mod rollback;
mod terminal;
mod topology;
mod write_to;

use std::process::ExitCode;

use clap::Parser;
use flags::{Flags, Verb};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let done = |result: anyhow::Result<()>| result.map(|()| ExitCode::SUCCESS);
    let result = match flags.verb {
        Verb::Build(flags) => done(build::run(&flags)),
        Verb::Plan(flags) => plan::run(&flags),
        Verb::Deploy(flags) => done(deploy::run(&flags)),
        Verb::Outputs(flags) => done(outputs::run(&flags)),
        Verb::Destroy(flags) => done(destroy::run(&flags)),
        Verb::Rollback(flags) => done(rollback::run(&flags)),
        Verb::Doctor(flags) => doctor::run(&flags),
        Verb::Dev(flags) => done(dev::run(&flags)),
        Verb::Publish(flags) => done(publish::run(&flags)),
        Verb::Dlq(flags) => done(dlq::run(&flags)),
        Verb::Graph(flags) => done(graph::run(&flags)),
        Verb::Export(flags) => done(export::run(&flags)),
        Verb::Bench(flags) => done(bench::run(&flags)),
        Verb::Model(flags) => done(model::run(&flags)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
