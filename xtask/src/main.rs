//! `cargo xtask`: everything about the project that is not the function itself. One verb, one file; `flags` is the whole
//! command line.

mod dlq;
mod flags;
mod model;
mod publish;
mod pubsub;

use std::process::ExitCode;

use clap::Parser;
use flags::{Flags, Verb};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match flags.verb {
        Verb::Model(arguments) => model::run(&arguments),
        Verb::Publish(arguments) => publish::run(&arguments),
        Verb::Dlq(arguments) => dlq::run(&arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
