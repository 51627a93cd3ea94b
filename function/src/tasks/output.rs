//! What the results of all tasks have in common.

use serde::Serialize;

use crate::Outcome;

/// Tokens that a message cost, under OpenAI's names.
#[derive(Debug, Serialize)]
pub(super) struct Usage {
    prompt_tokens: usize,
    total_tokens: usize,
}

impl Usage {
    pub(super) fn new(tokens: usize) -> Self {
        Self { prompt_tokens: tokens, total_tokens: tokens }
    }
}

/// How many tokens the sequences have together.
pub(super) fn count<'a>(sequences: impl IntoIterator<Item = &'a Vec<u32>>) -> usize {
    sequences.into_iter().map(Vec::len).sum()
}

/// The outcome with a result as JSON text.
pub(super) fn done(result: &impl Serialize) -> Outcome {
    match serde_json::to_vec(result) {
        Ok(json) => Outcome::Done(json.into()),
        Err(error) => Outcome::retry(format!("the result could not be written as JSON: {error}")),
    }
}
