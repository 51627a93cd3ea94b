//! event in → message → route → payload → task (batched) → result → outcome → answer

pub mod cloud;
pub mod dead_letter;
pub mod event;
pub mod key;
pub mod model;
pub mod outcome;
pub mod payload;
pub mod sink;
pub mod task;
pub mod tasks;

pub use dead_letter::DeadLetter;
pub use event::Message;
pub use outcome::Outcome;
pub use payload::Payloads;
pub use sink::{Destination, SinkError, Sinks, TaskResult};
pub use task::{Task, Work};
