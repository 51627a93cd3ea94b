//! Errors with their sources, for people.

use std::error::Error;

/// An error and all its sources in one line, each once: many clients repeat the text of the source in their own.
pub fn error_chain(error: &dyn Error) -> String {
    let mut chain = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !chain.contains(&text) {
            chain.push_str(": ");
            chain.push_str(&text);
        }
        next = source.source();
    }
    chain
}
