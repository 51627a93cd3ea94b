//! `cargo xtask`: everything about the project that is not the function itself. One verb, one file; `flags` is the whole
//! command line.

mod build;
mod export;
mod flags;
mod graph;
mod model;
mod output;
mod topology;

use std::process::ExitCode;

use clap::Parser;
use flags::{Flags, Verb};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match flags.verb {
        Verb::Build(flags) => build::run(&flags),
        Verb::Export(flags) => export::run(&flags),
        Verb::Graph(flags) => graph::run(&flags),
        Verb::Model(arguments) => model::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
