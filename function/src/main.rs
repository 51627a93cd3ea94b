//! The function's entry point.

use std::process::ExitCode;

use function::{Allocator, Function};

#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

fn main() -> ExitCode {
    Function::new().with_model_tasks().run()
}
