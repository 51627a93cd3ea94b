//! The function's entry point.

use std::process::ExitCode;

use function::Function;

fn main() -> ExitCode {
    Function::new().with_model_tasks().run()
}
