//! What can be wrong with a vocabulary or a `tokenizer.json`.

/// Why a tokenizer could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The vocabulary is not UTF-8.
    #[error("the vocabulary is not UTF-8 text from byte {at} on; it must be the tokens in id order, one a line")]
    NotUtf8 {
        /// The first byte that is wrong.
        at: usize,
    },
    /// A line of the vocabulary is empty.
    #[error("the token with id {id} (line {} of the vocabulary) is empty; each line must hold one token", id + 1)]
    EmptyToken {
        /// Its id, from 0.
        id: u32,
    },
    /// A token is there twice.
    #[error("the token {token:?} is in the vocabulary twice, with the ids {first} and {second}")]
    DuplicateToken {
        /// The token.
        token: String,
        /// The id it has.
        first: u32,
        /// The id it would have as well.
        second: u32,
    },
    /// A token that a BERT tokenizer cannot do without is missing.
    #[error("the vocabulary has no token {token:?}, which a BERT tokenizer needs")]
    MissingToken {
        /// The token.
        token: &'static str,
    },
    /// More tokens or bytes than any vocabulary has.
    #[error("the vocabulary is too large: {size} bytes, of at most {most}")]
    TooLarge {
        /// How many bytes it has.
        size: usize,
        /// How many it may have.
        most: usize,
    },
    /// `tokenizer.json` cannot be read.
    #[error("the tokenizer.json cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// `tokenizer.json` describes another kind of tokenizer.
    #[error(
        "the tokenizer.json has {field} = {found}, where only {wanted} is supported: the model must have a BERT WordPiece \
         tokenizer"
    )]
    Unsupported {
        /// The path of the field.
        field: String,
        /// What it holds.
        found: String,
        /// What it may hold.
        wanted: &'static str,
    },
}
