//! AI work on Pub/Sub messages and CloudEvents, in one process: events come in over HTTP, meet in batches, go through a model,
//! and their results go on.
//!
//! event in → message → route → payload → task (batched) → result → outcome → answer
//!
//! A program of your own is a [`Task`] and a `main`:
//!
//! ```no_run
//! use function::{Function, Message, Outcome, Task, Work};
//!
//! struct Length;
//!
//! impl Task for Length {
//!     type Input = usize;
//!     fn name(&self) -> &str {
//!         "length"
//!     }
//!     fn accept(&self, message: &Message) -> Result<Work<usize>, Outcome> {
//!         Ok(Work { input: message.data.len(), cost: 1 })
//!     }
//!     fn run(&self, batch: &[&usize]) -> Vec<Outcome> {
//!         batch.iter().map(|n| Outcome::Done(n.to_string().into())).collect()
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     Function::new().with_model_tasks().task(Length).run()
//! }
//! ```
//!
//! # Layout
//!
//! - [`event`]: CloudEvents and Pub/Sub pushes, in every form, to a [`Message`]
//! - `auth`: the identity token of a request
//! - [`payload`]: inline bytes, or a claim check fetched from Cloud Storage; JSON or text
//! - `route`: the declared rules that pick a task
//! - [`task`]: what a user implements; [`tasks`]: `embed`, `classify`, `rerank`
//! - `batch`: the bounded queue in which messages of concurrent requests meet
//! - [`encoder`], a crate of its own: tokenizer, weights, forward pass, kernels
//! - [`outcome`]: what became of a message; `server`: its answer over HTTP
//! - [`sink`]: results to a topic, a bucket, standard output; [`dead_letter`]: what can never succeed
//! - [`idempotency`]: the key that makes two deliveries the same work
//! - [`clients`]: the clients of Google Cloud; `resource_names`: the rules for names there
//! - `ledger`: one effect a message: claims, completions, and what a process remembers of them
//! - `pull`: the same way for messages of a pull subscription
//! - `json`: parsing, with errors that name the field
//! - [`config`]: every setting; [`telemetry`]: logs and metrics
//! - `run`: all of it put together

pub mod auth;
pub mod batch;
pub mod clients;
pub mod config;
pub mod dead_letter;
mod digest;
pub mod event;
pub mod http;
pub mod idempotency;
mod json;
pub mod ledger;
pub mod outcome;
pub mod payload;
pub mod pipeline;
pub mod pull;
mod resource_names;
pub mod sink;
mod startup;
pub mod task;
pub mod tasks;
pub mod telemetry;

pub use config::Config;
pub use dead_letter::DeadLetter;
pub use event::Message;
pub use ledger::LedgerLocation;
pub use outcome::Outcome;
pub use payload::Payloads;
pub use sink::{Destination, SinkError, Sinks, TaskResult};
pub use startup::{Function, StartError, runtime};
pub use task::{Task, Work};
