//! What waits, and what runs next.
//!
//! First come, first served would let every short message wait behind all of the long ones before it; shortest first would let
//! long ones wait for ever. Here messages of a task stand in four lines by their cost, in a line as they came, and the lines share the
//! time: each gets as many tokens as every other that has something waiting. A short message therefore waits for short ones
//! and for about as much of the longer ones, however many of those there are, and the same holds the other way round. With one
//! line in use nothing is reordered. Tasks share the time in the same way.
//!
//! This is start-time fair queueing (Goyal, Vin, Cheng 1996): a message is stamped with the later of the queue's clock and the end of the
//! message before it in its line; its end is its stamp and its cost. Stamps are served in ascending order, and the clock is
//! the one that was reached.
//!
//! A batch holds messages of one task. What does not fit is overtaken by what does, so that batches are full, and then begins
//! the next batch of its task. A message larger than a batch runs alone, and so does one that may have ended a process before ([`Queue::push`]).

use std::collections::VecDeque;
use std::time::Instant;

/// Lines of a task: messages of up to 1/64 of a batch, up to 1/8, up to a whole one, and larger.
const SIZES: usize = 4;
/// Suspects run alone if so few of them wait. More of them are the trace of an outage or of too much load, which running them
/// one by one would make worse.
const MAX_ISOLATED: usize = 16;

/// Work that waits, by task and size.
pub(super) struct Queue<T> {
    tasks: Vec<TaskQueue<T>>,
    batch_tokens: usize,
    tokens: usize,
    isolate_count: usize,
    next_id: u64,
    clock: u64,
}

struct TaskQueue<T> {
    sizes: [SizeClass<T>; SIZES],
    waiting: usize,
    /// The stamp of its next batch.
    start: u64,
    /// For the stamps of its messages.
    clock: u64,
    /// The line whose first message was overtaken.
    overtaken: Option<usize>,
}

struct SizeClass<T> {
    /// Ids and stamps ascend.
    jobs: VecDeque<Waiting<T>>,
    /// The stamp after the last one.
    end: u64,
}

struct Waiting<T> {
    id: u64,
    start: u64,
    cost: usize,
    isolate: bool,
    arrived: Instant,
    job: T,
}

/// Where a job waits.
#[derive(Debug)]
pub(super) struct Ticket {
    task: usize,
    size: usize,
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
    pub(super) fn new(tasks: usize, batch_tokens: usize) -> Self {
        let class = || SizeClass { jobs: VecDeque::new(), end: 0 };
        let task =
            || TaskQueue { sizes: std::array::from_fn(|_| class()), waiting: 0, start: 0, clock: 0, overtaken: None };
        let tasks = (0..tasks).map(|_| task()).collect();
        Self { tasks, batch_tokens, tokens: 0, isolate_count: 0, next_id: 0, clock: 0 }
    }

    /// Of all that waits.
    pub(super) fn tokens(&self) -> usize {
        self.tokens
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tasks.iter().all(|task| task.waiting == 0)
    }

    /// When the first of those that wait came.
    pub(super) fn oldest(&self) -> Option<Instant> {
        let firsts = self.tasks.iter().flat_map(|task| &task.sizes).filter_map(|class| class.jobs.front());
        firsts.map(|first| first.arrived).min()
    }

    /// Adds a job; `None` if there is no such task. A suspect runs alone.
    pub(super) fn push(&mut self, task: usize, cost: usize, isolate: bool, arrived: Instant, job: T) -> Option<Ticket> {
        let batch = self.batch_tokens;
        let size = [cost.saturating_mul(64) <= batch, cost.saturating_mul(8) <= batch, cost <= batch];
        let size = size.iter().position(|fits| *fits).unwrap_or(SIZES - 1);
        let found = self.tasks.get_mut(task)?;
        if found.waiting == 0 {
            found.start = found.start.max(self.clock);
        }
        let class = &mut found.sizes[size];
        let (id, start) = (self.next_id, class.end.max(found.clock));
        class.end = start + cost as u64;
        class.jobs.push_back(Waiting { id, start, cost, isolate, arrived, job });
        found.waiting += 1;
        self.next_id += 1;
        self.tokens += cost;
        self.isolate_count += usize::from(isolate);
        Some(Ticket { task, size, id })
    }

    /// Takes a job out, if it still waits.
    pub(super) fn remove(&mut self, ticket: &Ticket) -> Option<T> {
        let task = self.tasks.get_mut(ticket.task)?;
        let class = task.sizes.get_mut(ticket.size)?;
        let at = class.jobs.binary_search_by_key(&ticket.id, |waiting| waiting.id).ok()?;
        let removed = class.jobs.remove(at)?;
        if at == class.jobs.len() {
            class.end = removed.start;
        }
        if at == 0 && task.overtaken == Some(ticket.size) {
            task.overtaken = None;
        }
        task.waiting -= 1;
        self.tokens -= removed.cost;
        self.isolate_count -= usize::from(removed.isolate);
        Some(removed.job)
    }

    /// Takes the next batch out; `None` if nothing waits.
    pub(super) fn next_batch(&mut self) -> Option<Batch<T>> {
        let isolation = self.isolate_count <= MAX_ISOLATED;
        let waiting = self.tasks.iter_mut().enumerate().filter(|(_, task)| task.waiting > 0);
        let (number, task) = waiting.min_by_key(|(_, task)| task.start)?;
        let (mut jobs, mut tokens) = (Vec::new(), 0);
        let mut overtaken = task.overtaken.take();
        let (mut closed, mut passed) = ([false; SIZES], None);
        while let Some(size) = overtaken.or_else(|| task.next(&closed)) {
            let class = &mut task.sizes[size];
            let Some(first) = class.jobs.front() else { break };
            let alone = first.cost > self.batch_tokens || (first.isolate && isolation);
            if !jobs.is_empty() && (alone || tokens + first.cost > self.batch_tokens) {
                closed[size] = true;
                passed = passed.or(Some(size));
                continue;
            }
            let Some(first) = class.jobs.pop_front() else { break };
            // What was passed over has now been overtaken.
            task.overtaken = passed;
            if overtaken.take().is_none() && passed.is_none() {
                task.clock = task.clock.max(first.start);
            }
            task.waiting -= 1;
            tokens += first.cost;
            self.isolate_count -= usize::from(first.isolate);
            jobs.push(first.job);
            if alone {
                break;
            }
        }
        self.clock = task.start;
        task.start += tokens as u64;
        if task.waiting == 0 {
            task.clock = 0;
            task.sizes.iter_mut().for_each(|class| class.end = 0);
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
    /// The open line whose first message has the lowest stamp; of equal ones that of the shorter messages.
    fn next(&self, closed: &[bool; SIZES]) -> Option<usize> {
        let open = self.sizes.iter().enumerate().filter(|(size, _)| !closed[*size]);
        let firsts = open.filter_map(|(size, class)| Some((class.jobs.front()?.start, size)));
        firsts.min().map(|(_, size)| size)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::*;

    const BATCH: usize = 64;
    const LARGEST: usize = 128;
    /// So many tokens wait before batches are cut.
    const FULL: usize = 400;

    /// What the test knows of a message.
    #[derive(Clone, Copy, Debug)]
    struct Pushed {
        cost: usize,
        isolate: bool,
        task: usize,
        /// Tokens that waited in its line when it came.
        ahead: usize,
        /// Tokens of messages that came later and ran in an earlier batch.
        overtaken_by: usize,
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push { task: usize, cost: usize, isolate: bool },
        Remove(usize),
        NextBatch,
    }

    /// Phases in which messages of one size flood the queue.
    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let cost = |size: usize| [1..2_usize, 2..9, 9..65, 65..LARGEST + 1][size].clone();
        let phase = (0..SIZES).prop_flat_map(move |flood| {
            let cost = prop_oneof![9 => cost(flood), 1 => (0..SIZES).prop_flat_map(cost)];
            let push = (prop::bool::weighted(0.2), cost, prop::bool::weighted(0.01));
            let step = prop_oneof![
                30 => push.prop_map(|(other, cost, isolate)| Step::Push { task: usize::from(other), cost, isolate }),
                1 => any::<usize>().prop_map(Step::Remove),
                1 => Just(Step::NextBatch),
            ];
            prop::collection::vec(step, 0..600)
        });
        prop::collection::vec(phase, 1..5).prop_map(|phases| phases.concat())
    }

    fn same_line(a: &Pushed, b: &Pushed) -> bool {
        let size = |cost: usize| [cost <= BATCH / 64, cost <= BATCH / 8, cost <= BATCH];
        a.task == b.task && size(a.cost) == size(b.cost)
    }

    proptest! {
        #[test]
        fn every_job_runs_once_in_full_batches_and_none_waits_long_for_later_ones(steps in steps()) {
            let mut queue = Queue::new(2, BATCH);
            let mut waiting: Vec<(usize, Ticket, Pushed)> = Vec::new();
            let mut steps = steps.into_iter().enumerate();
            loop {
                // A full queue is worked on, and at the end everything is taken out.
                let next = if queue.tokens() > FULL { None } else { steps.next() };
                let (number, step) = next.unwrap_or((0, Step::NextBatch));
                match step {
                    Step::Push { task, cost, isolate } => {
                        let mut pushed = Pushed { cost, isolate, task, ahead: 0, overtaken_by: 0 };
                        pushed.ahead = waiting.iter().filter(|(_, _, w)| same_line(w, &pushed)).map(|(_, _, w)| w.cost).sum();
                        let ticket = queue.push(task, cost, isolate, Instant::now(), number).unwrap();
                        waiting.push((number, ticket, pushed));
                    }
                    Step::Remove(which) if !waiting.is_empty() => {
                        let (number, ticket, _) = waiting.remove(which % waiting.len());
                        prop_assert_eq!(queue.remove(&ticket), Some(number));
                        prop_assert_eq!(queue.remove(&ticket), None);
                    }
                    Step::Remove(_) => {}
                    Step::NextBatch => {
                        let isolated = waiting.iter().filter(|(_, _, w)| w.isolate).count();
                        let Some(batch) = queue.next_batch() else {
                            prop_assert!(waiting.is_empty());
                            if steps.len() == 0 { break; }
                            continue;
                        };
                        let (ran, left): (Vec<_>, Vec<_>) = waiting.drain(..).partition(|(n, _, _)| batch.jobs.contains(n));
                        waiting = left;
                        prop_assert_eq!(ran.len(), batch.jobs.len());
                        prop_assert!(ran.iter().all(|(_, _, pushed)| pushed.task == batch.task));
                        prop_assert_eq!(ran.iter().map(|(_, _, pushed)| pushed.cost).sum::<usize>(), batch.tokens);
                        let alone = |k: &Pushed| k.cost > BATCH || (k.isolate && isolated <= MAX_ISOLATED);
                        prop_assert!(ran.len() == 1 || (batch.tokens <= BATCH && !ran.iter().any(|(_, _, k)| alone(k))));
                        if !alone(&ran[0].2) {
                            // The first of each line would not have fitted.
                            let mut firsts: Vec<&Pushed> = Vec::new();
                            for (_, _, pushed) in waiting.iter().filter(|(_, _, pushed)| pushed.task == batch.task) {
                                if !firsts.iter().any(|first| same_line(first, pushed)) {
                                    firsts.push(pushed);
                                }
                            }
                            prop_assert!(firsts.iter().all(|k| alone(k) || batch.tokens + k.cost > BATCH));
                        }
                        for (number, _, pushed) in &mut waiting {
                            let later = ran.iter().filter(|(other, _, _)| other > number);
                            pushed.overtaken_by += later.map(|(_, _, later)| later.cost).sum::<usize>();
                            // Each other line gets what its own line gets, which may be ahead by a batch or a message; the
                            // other task as much as all of them; and batches are filled up.
                            let own = pushed.ahead + BATCH + 2 * LARGEST;
                            let bound = 2 * ((SIZES - 1) * own + 2 * BATCH) + pushed.ahead + 2 * LARGEST;
                            prop_assert!(pushed.overtaken_by <= bound, "{} > {bound}", pushed.overtaken_by);
                        }
                    }
                }
                prop_assert_eq!(queue.tokens(), waiting.iter().map(|(_, _, pushed)| pushed.cost).sum::<usize>());
                prop_assert_eq!(queue.is_empty(), waiting.is_empty());
                prop_assert_eq!(queue.oldest().is_some(), !waiting.is_empty());
            }
            prop_assert!(waiting.is_empty());
        }
    }

    /// Pushes messages of these costs to task 0.
    fn queue(costs: &[usize]) -> Queue<usize> {
        let mut queue = Queue::new(1, BATCH);
        for cost in costs {
            queue.push(0, *cost, false, Instant::now(), *cost).unwrap();
        }
        queue
    }

    fn batches(mut queue: Queue<usize>) -> Vec<Vec<usize>> {
        std::iter::from_fn(|| Some(queue.next_batch()?.jobs)).collect()
    }

    #[test]
    fn a_short_message_waits_for_no_flood_of_long_ones_nor_a_long_one_for_short_ones() {
        let mut queue = queue(&[60; 100]);
        queue.next_batch().unwrap();
        queue.push(0, 1, false, Instant::now(), 1).unwrap();
        assert_eq!(queue.next_batch().unwrap().jobs, [1, 60]);

        let mut queue = self::queue(&[1; 10_000]);
        queue.push(0, 60, false, Instant::now(), 60).unwrap();
        queue.push(0, 600, false, Instant::now(), 600).unwrap();
        let mut batches = std::iter::from_fn(|| Some(queue.next_batch()?.jobs));
        assert!(batches.by_ref().take(2).any(|batch| batch.contains(&60)));
        assert!(batches.take(2).any(|batch| batch == [600]));
    }

    #[test]
    fn equal_sizes_stay_in_order_and_larger_pieces_share_the_time() {
        assert_eq!(batches(queue(&[30, 31, 32, 33, 34])), [vec![30, 31], vec![32], vec![33], vec![34]]);
        let shares = batches(queue(&[[200; 3].as_slice(), &[1; 700]].concat()));
        let large: Vec<usize> = (0..shares.len()).filter(|n| shares[*n] == [200]).collect();
        // Between them the short ones get 200 tokens too: three or four batches of 64.
        assert_eq!(large.len(), 3);
        assert!(large.windows(2).all(|pair| (3..=5).contains(&(pair[1] - pair[0]))), "{large:?}");
    }

    #[test]
    fn suspects_run_alone_unless_there_are_many() {
        let of = |isolated: usize| {
            let mut queue = Queue::new(1, BATCH);
            for n in 0..20 {
                queue.push(0, 1, n < isolated, Instant::now(), n).unwrap();
            }
            batches(queue)
        };
        assert_eq!(of(2), [vec![0], vec![1], (2..20).collect()]);
        assert_eq!(of(17), [(0..20).collect::<Vec<_>>()]);
    }
}
