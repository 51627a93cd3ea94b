//! event in → message → route → payload → task (batched) → result → outcome → answer

pub mod event;
pub mod model;
pub mod outcome;
pub mod task;
pub mod tasks;

pub use event::Message;
pub use outcome::Outcome;
pub use task::{Task, Work};
