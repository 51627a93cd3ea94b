//! What a user implements: [`Task`].

use std::any::Any;

use crate::{Message, Outcome};

/// One kind of AI work.
///
/// A message goes through [`accept`](Self::accept) alone, on the thread that received it, and then through
/// [`run`](Self::run) together with others that wait for the same task, on a worker thread that may block.
pub trait Task: Send + Sync + 'static {
    /// What `accept` makes of a message and `run` takes.
    type Input: Send + 'static;

    /// The word that routes and the attribute `task` use: lower-case letters, digits and `-`.
    fn name(&self) -> &str;

    /// Reads and checks one message. `Err` ends the message, usually as [`Outcome::Rejected`].
    ///
    /// Runs on the async runtime for payloads of up to 64 KB, on a blocking thread for larger ones.
    fn accept(&self, message: &Message) -> Result<Work<Self::Input>, Outcome>;

    /// Does the work of a whole batch and returns one outcome for each input, in order. May block. After a panic, or if
    /// the number of outcomes differs, the inputs are run one by one, so that only the one that caused it fails. After
    /// [`task_timeout_ms`](crate::Config::task_timeout_ms) the messages are given up and redelivered, but the thread
    /// cannot be ended: a task that waits for something should have a time-out of its own.
    fn run(&self, batch: &[&Self::Input]) -> Vec<Outcome>;
}

/// An accepted message, ready for [`Task::run`].
#[derive(Debug)]
pub struct Work<I> {
    /// What `run` will get.
    pub input: I,
    /// What it costs, in tokens for language models: the measure of the batch and queue bounds. At least 1.
    pub cost: usize,
}

/// An input whose type only its task knows.
pub(crate) type AnyInput = Box<dyn Any + Send>;

/// [`Task`] without its type, so that tasks of several kinds share a queue.
pub(crate) trait AnyTask: Send + Sync {
    fn name(&self) -> &str;
    fn accept(&self, message: &Message) -> Result<Work<AnyInput>, Outcome>;
    fn run(&self, batch: &[&AnyInput]) -> Vec<Outcome>;
}

impl<T: Task> AnyTask for T {
    fn name(&self) -> &str {
        Task::name(self)
    }

    fn accept(&self, message: &Message) -> Result<Work<AnyInput>, Outcome> {
        let work = Task::accept(self, message)?;
        Ok(Work { input: Box::new(work.input), cost: work.cost.max(1) })
    }

    fn run(&self, batch: &[&AnyInput]) -> Vec<Outcome> {
        // Every input of this task was made by its own `accept`, so none is left out.
        let inputs: Vec<&T::Input> = batch.iter().filter_map(|input| input.downcast_ref()).collect();
        Task::run(self, &inputs)
    }
}
