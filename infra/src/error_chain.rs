//! Errors with what caused them, for people.

use std::error::Error;

/// An error and all its causes in one line, each told once: many clients repeat the text of the cause in their own.
pub fn causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.push_str(": ");
            text.push_str(&told);
        }
        next = cause.source();
    }
    text
}
