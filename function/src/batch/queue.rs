//! The queue: what waits, and which batch is next.
//!
//! # The order
//!
//! First come, first served would make every short message wait behind all the long ones that came before it;
//! shortest first would make long ones wait as long as short ones keep coming. Here the messages of a task are sorted
//! by cost into four [`SizeClass`]es, each in order of arrival, and the classes share the time: each runs as many
//! tokens as every other class that has something waiting. So a short message waits for short ones and for about the
//! same amount of longer work, however much of that is queued, and the same holds in reverse. While only one
//! class is in use nothing is reordered. Tasks share the time likewise.
//!
//! # The algorithm
//!
//! This is start-time fair queueing (Goyal, Vin and Cheng, 1996). Every class has a virtual clock that counts its
//! tokens. A message starts at the later of two virtual times: where the queue's clock is, and where the message
//! before it in its class ends; it ends its cost later. Messages run in ascending order of their start, and the clock
//! is the start that was reached. A class that was empty for a while therefore has no credit from that time, and one
//! that has had more than its share waits. The invariant: ids and starts ascend within a class, so the first message
//! of a class always has its lowest start.
//!
//! # Batches
//!
//! A batch holds messages of one task. It is filled in the order above until nothing fits any more: a message that
//! does not fit is overtaken by later ones that do, so that batches are full, and in return begins the next batch of
//! its task. Two kinds of message run alone: those larger than a batch, and those that may be poison messages (see
//! [`super::poison`]).

use std::collections::VecDeque;
use std::time::Instant;

/// Size classes of a task: messages of up to 1/64 of a batch, up to 1/8, up to a whole batch, and larger ones.
const SIZE_CLASSES: usize = 4;
/// Messages that are to run alone do so while at most this many of them wait. More of them are the trace of an outage
/// or of overload, and running those one by one would make it worse.
const MAX_ISOLATED: usize = 16;

/// Work that waits, by task and size class. `T` is what is queued; the queue knows its cost alone.
pub(super) struct Queue<T> {
    tasks: Vec<TaskQueue<T>>,
    /// Most tokens of a batch.
    batch_tokens: usize,
    /// Tokens that wait.
    tokens: usize,
    /// Waiting messages that are to run alone.
    run_alone: usize,
    next_id: u64,
    /// Virtual time among tasks: the start of the task that ran last.
    clock: u64,
}

struct TaskQueue<T> {
    classes: [SizeClass<T>; SIZE_CLASSES],
    /// Messages in all classes.
    waiting: usize,
    /// Virtual time among tasks at which the next batch of this one starts.
    start: u64,
    /// Virtual time among the classes: the start of the message that ran last.
    clock: u64,
    /// The class whose first message did not fit into the last batch and was overtaken. It begins the next one.
    overtaken: Option<usize>,
}

struct SizeClass<T> {
    /// In order of arrival: ids and starts ascend.
    messages: VecDeque<Waiting<T>>,
    /// Virtual time at which the last message ends.
    end: u64,
}

struct Waiting<T> {
    id: u64,
    /// Virtual time at which it starts.
    start: u64,
    cost: usize,
    run_alone: bool,
    arrived: Instant,
    job: T,
}

/// Identifies a queued job, for [`Queue::remove`].
#[derive(Debug)]
pub(super) struct Ticket {
    task: usize,
    class: usize,
    id: u64,
}

/// Jobs of one task that run together.
#[derive(Debug)]
pub(super) struct Batch<T> {
    pub(super) task: usize,
    pub(super) tokens: usize,
    pub(super) jobs: Vec<T>,
}

impl<T> Queue<T> {
    /// An empty queue for this number of tasks.
    pub(super) fn new(tasks: usize, batch_tokens: usize) -> Self {
        let class = || SizeClass { messages: VecDeque::new(), end: 0 };
        let classes = || std::array::from_fn(|_| class());
        let task = || TaskQueue { classes: classes(), waiting: 0, start: 0, clock: 0, overtaken: None };
        let tasks = (0..tasks).map(|_| task()).collect();
        Self { tasks, batch_tokens, tokens: 0, run_alone: 0, next_id: 0, clock: 0 }
    }

    /// Tokens of everything that waits.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.iter().all(|task| task.waiting == 0)
    }

    /// When the message that has waited longest arrived.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let classes = self.tasks.iter().flat_map(|task| &task.classes);
        classes.filter_map(|class| class.messages.front()).map(|first| first.arrived).min()
    }

    /// Adds a job; `None` if there is no such task.
    pub(super) fn push(
        &mut self,
        task: usize,
        cost: usize,
        run_alone: bool,
        arrived: Instant,
        job: T,
    ) -> Option<Ticket> {
        let batch = self.batch_tokens;
        let fits_class = [cost.saturating_mul(64) <= batch, cost.saturating_mul(8) <= batch, cost <= batch];
        let class = fits_class.iter().position(|fits| *fits).unwrap_or(SIZE_CLASSES - 1);
        let queue = self.tasks.get_mut(task)?;
        if queue.waiting == 0 {
            queue.start = queue.start.max(self.clock);
        }
        let SizeClass { messages, end } = &mut queue.classes[class];
        let (id, start) = (self.next_id, (*end).max(queue.clock));
        *end = start + cost as u64;
        messages.push_back(Waiting { id, start, cost, run_alone, arrived, job });
        queue.waiting += 1;
        self.next_id += 1;
        self.tokens += cost;
        self.run_alone += usize::from(run_alone);
        Some(Ticket { task, class, id })
    }

    /// Takes a job out, if it still waits.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let task = self.tasks.get_mut(ticket.task)?;
        let class = task.classes.get_mut(ticket.class)?;
        let at = class.messages.binary_search_by_key(&ticket.id, |waiting| waiting.id).ok()?;
        let removed = class.messages.remove(at)?;
        // The last message hands its time to the next one that comes. In the middle of a class the gap is left:
        // starts ascend.
        if at == class.messages.len() {
            class.end = removed.start;
        }
        if at == 0 && task.overtaken == Some(ticket.class) {
            task.overtaken = None;
        }
        task.waiting -= 1;
        self.tokens -= removed.cost;
        self.run_alone -= usize::from(removed.run_alone);
        Some(removed.job)
    }

    /// Takes the next batch out; `None` if nothing waits.
    ///
    /// The batch size is decided here: messages are added, cheapest virtual start first, while they fit into
    /// `batch_tokens`. A class is closed once its first message does not fit, so that its order is kept; the others
    /// go on.
    pub(super) fn next_batch(&mut self) -> Option<Batch<T>> {
        let isolate = self.run_alone <= MAX_ISOLATED;
        let waiting = self.tasks.iter_mut().enumerate().filter(|(_, task)| task.waiting > 0);
        let (number, task) = waiting.min_by_key(|(_, task)| task.start)?;
        let (mut jobs, mut tokens) = (Vec::new(), 0);
        let mut first_class = task.overtaken.take();
        let (mut closed, mut passed_over) = ([false; SIZE_CLASSES], None);
        while let Some(class) = first_class.or_else(|| task.next_class(&closed)) {
            let messages = &mut task.classes[class].messages;
            let Some(first) = messages.front() else { break };
            let alone = first.cost > self.batch_tokens || (first.run_alone && isolate);
            if !jobs.is_empty() && (alone || tokens + first.cost > self.batch_tokens) {
                closed[class] = true;
                passed_over = passed_over.or(Some(class));
                continue;
            }
            let Some(first) = messages.pop_front() else { break };
            // From now on what was passed over is overtaken.
            task.overtaken = passed_over;
            // The clock follows the order of starts alone. What ran out of that order, because it was overtaken or
            // because it overtakes, must not move it.
            if first_class.take().is_none() && passed_over.is_none() {
                task.clock = task.clock.max(first.start);
            }
            task.waiting -= 1;
            tokens += first.cost;
            self.run_alone -= usize::from(first.run_alone);
            jobs.push(first.job);
            if alone {
                break;
            }
        }
        self.clock = task.start;
        task.start += tokens as u64;
        if task.waiting == 0 {
            task.clock = 0;
            task.classes.iter_mut().for_each(|class| class.end = 0);
        }
        self.tokens -= tokens;
        if self.is_empty() {
            self.clock = 0;
            self.tasks.iter_mut().for_each(|task| task.start = 0);
        }
        Some(Batch { task: number, tokens, jobs })
    }
}

impl<T> TaskQueue<T> {
    /// The open class whose first message has the lowest start; of equal ones the class of the shorter messages.
    fn next_class(&self, closed: &[bool; SIZE_CLASSES]) -> Option<usize> {
        let open = self.classes.iter().enumerate().filter(|(class, _)| !closed[*class]);
        let starts = open.filter_map(|(class, queued)| Some((queued.messages.front()?.start, class)));
        starts.min().map(|(_, class)| class)
    }
}

#[cfg(test)]
mod tests;
