//! AI work on Pub/Sub messages and CloudEvents, in one process: events arrive over HTTP or from a pull subscription,
//! run in batches through a model, and their results go to topics, buckets or the response.
//!
//! ```text
//! request ───────▶ http ▶ event ─┐                                                            ┌─▶ status
//!                                ├─▶ pipeline ───────────────────────────────────▶ outcome ───┤
//! StreamingPull ─▶ pull ─────────┘    route ▸ admit ▸ accept ▸ claim ▸ run ▸ deliver ▸ settle └─▶ acknowledgement
//! ```
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
//! In the order in which a message meets them:
//!
//! - [`http`]: requests and responses; [`http::status`] is the one table from outcome to status
//! - [`auth`]: verifies the identity token of a request
//! - [`event`]: CloudEvents and Pub/Sub pushes, in every form, to a [`Message`]
//! - [`pull`]: messages of a pull subscription, with their leases
//! - [`pipeline`]: one message from event to outcome, whichever transport delivered it
//! - [`idempotency`]: the key that makes two deliveries the same work; [`ledger`]: one effect a message, by that key
//! - [`payload`]: inline data, or a claim check fetched from Cloud Storage; JSON or text
//! - [`task`]: what a user implements; [`tasks`]: `embed`, `classify`, `rerank`
//! - [`batch`]: the bounded queue in which messages of concurrent requests become batches
//! - [`encoder`], a crate of its own: tokenizer, weights, forward pass, kernels
//! - [`sink`]: results to a topic, a bucket, standard output; [`dead_letter`]: messages that can never succeed
//! - [`outcome`]: what a message ends with
//!
//! Around them:
//!
//! - [`config`]: every setting; `startup`: settings in effect, models, start and shutdown
//! - [`clients`]: the clients of Google Cloud; `resource_names`: the rules for names there
//! - [`telemetry`]: logs and metrics
//! - `json`, `digest`: parsing with errors that name the field; SHA-256 and hexadecimal

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
