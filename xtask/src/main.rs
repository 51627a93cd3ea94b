//! `cargo xtask`: everything about the project that is not the function itself. One verb, one file; `flags` is the whole
//! command line.

mod bench;
mod flags;
mod model;

use std::process::ExitCode;

use clap::Parser;
use flags::{Flags, Verb};

fn main() -> ExitCode {
    let flags = Flags::parse();
    let result = match flags.verb {
        Verb::Bench(arguments) => bench::run(&arguments),
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
