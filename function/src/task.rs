//! The work itself: what a user implements.

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

    /// Reads and checks one message. Quick: it runs on the async runtime. `Err` ends the message, usually as
    /// [`Outcome::Rejected`].
    fn accept(&self, message: &Message) -> Result<Work<Self::Input>, Outcome>;

    /// Does the work of a whole batch and returns one outcome for each input, in order. May block. After a panic the inputs
    /// are run one by one, so that only the one that caused it fails.
    fn run(&self, batch: &[&Self::Input]) -> Vec<Outcome>;
}

/// An accepted message on its way to [`Task::run`].
#[derive(Debug)]
pub struct Work<I> {
    /// What `run` will get.
    pub input: I,
    /// What it costs, in tokens for language models: the measure of the batch and queue bounds. At least 1.
    pub cost: usize,
}
