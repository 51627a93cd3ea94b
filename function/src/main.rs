//! The function's entry point.
fn main() {}
