//! `cargo xtask`: builds, deploys, runs, measures and inspects the project, so that this needs no tool but cargo.
//!
//! ```text
//! cargo xtask dev                  the topology on this machine
//! cargo xtask deploy               the topology on Google Cloud
//! cargo xtask publish --data text  a message to it
//! ```
//!
//! # Layout
//!
//! `main` parses the command line and calls the verb. Every verb is one file, with its parts in a folder of the same
//! name: `bench`, `build`, `deploy`, `destroy`, `dev`, `dlq`, `doctor`, `export`, `graph`, `model`, `outputs`, `plan`,
//! `publish`, `rollback`. A new verb is a file, its flags in `flags/`, and a variant of [`Verb`].
//!
//! What several verbs share stands beside them:
//!
//! - `flags`: the whole command line
//! - `topology`: the declaration that a verb works on; `terminal`: colour, questions, a runtime
//! - `deployment`: the project, what is declared and found there, the steps of a plan
//! - `package`: the function, compiled and packed; `cargo`: how cargo is started
//! - `pubsub_client`: clients of Pub/Sub and Cloud Storage for the verbs that handle messages
//! - `original_model`, `digest`, `write_to`: the float32 model, SHA-256, output files

mod bench;
mod build;
mod cargo;
mod deploy;
mod deployment;
mod destroy;
mod dev;
mod digest;
mod dlq;
mod doctor;
mod export;
mod flags;
mod graph;
mod model;
mod original_model;
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
