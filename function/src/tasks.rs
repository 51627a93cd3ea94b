//! The tasks that come with the project, all on one [`Encoder`](encoder::Encoder).
//!
//! | task | payload | result |
//! |---|---|---|
//! | `embed`: [`Embed`] | texts | a unit vector for each |
//! | `classify`: [`Classify`] | texts and labels | the scores of the labels for each text |
//! | `rerank`: [`Rerank`] | a query and documents | the documents by relevance |
//!
//! A payload that is a JSON object has the fields that each task names; any other text is taken as `{"input": text}`,
//! see [`payload::read()`](crate::payload::read()). A field that may be left out may be `null` as well. Fields that a
//! task does not know are ignored, so that a payload may carry what its sender needs.

mod classify;
mod embed;
mod embeddings;
mod fields;
mod output;
mod rerank;

pub use classify::Classify;
pub use embed::Embed;
pub use fields::MAX_TEXTS;
pub use rerank::Rerank;
