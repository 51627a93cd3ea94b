use proptest::prelude::*;

use super::*;

const BATCH: usize = 64;
const LARGEST: usize = 128;
/// Tokens that wait before batches are taken out.
const FULL: usize = 400;

/// A message that waits, as the test keeps track of it.
#[derive(Clone, Copy, Debug)]
struct Pushed {
    cost: usize,
    run_alone: bool,
    task: usize,
    /// Tokens that waited in its class when it arrived.
    ahead: usize,
    /// Tokens of messages that arrived later and ran in an earlier batch.
    overtaken_by: usize,
}

#[derive(Clone, Debug)]
enum Step {
    Push { task: usize, cost: usize, run_alone: bool },
    Remove(usize),
    NextBatch,
}

/// Phases in which messages of one size flood the queue.
fn steps() -> impl Strategy<Value = Vec<Step>> {
    let cost = |size: usize| [1..2_usize, 2..9, 9..65, 65..LARGEST + 1][size].clone();
    let phase = (0..SIZE_CLASSES).prop_flat_map(move |flood| {
        let cost = prop_oneof![9 => cost(flood), 1 => (0..SIZE_CLASSES).prop_flat_map(cost)];
        let push = (prop::bool::weighted(0.2), cost, prop::bool::weighted(0.01));
        let step = prop_oneof![
            30 => push.prop_map(|(other, cost, run_alone)| Step::Push { task: usize::from(other), cost, run_alone }),
            1 => any::<usize>().prop_map(Step::Remove),
            1 => Just(Step::NextBatch),
        ];
        prop::collection::vec(step, 0..600)
    });
    prop::collection::vec(phase, 1..5).prop_map(|phases| phases.concat())
}

fn same_class(a: &Pushed, b: &Pushed) -> bool {
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
            // A full queue is worked off, and so is what is left at the end.
            let next = if queue.tokens() > FULL { None } else { steps.next() };
            let (number, step) = next.unwrap_or((0, Step::NextBatch));
            match step {
                Step::Push { task, cost, run_alone } => {
                    let mut pushed = Pushed { cost, run_alone, task, ahead: 0, overtaken_by: 0 };
                    let same_class = waiting.iter().filter(|(_, _, w)| same_class(w, &pushed));
                    pushed.ahead = same_class.map(|(_, _, w)| w.cost).sum();
                    let ticket = queue.push(task, cost, run_alone, Instant::now(), number).unwrap();
                    waiting.push((number, ticket, pushed));
                }
                Step::Remove(which) if !waiting.is_empty() => {
                    let (number, ticket, _) = waiting.remove(which % waiting.len());
                    prop_assert_eq!(queue.remove(&ticket), Some(number));
                    prop_assert_eq!(queue.remove(&ticket), None);
                }
                Step::Remove(_) => {}
                Step::NextBatch => {
                    let to_run_alone = waiting.iter().filter(|(_, _, w)| w.run_alone).count();
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
                    let alone = |k: &Pushed| k.cost > BATCH || (k.run_alone && to_run_alone <= MAX_ISOLATED);
                    prop_assert!(ran.len() == 1 || (batch.tokens <= BATCH && !ran.iter().any(|(_, _, k)| alone(k))));
                    if !alone(&ran[0].2) {
                        // The first message of each class would not have fitted.
                        let mut firsts: Vec<&Pushed> = Vec::new();
                        for (_, _, pushed) in waiting.iter().filter(|(_, _, pushed)| pushed.task == batch.task) {
                            if !firsts.iter().any(|first| same_class(first, pushed)) {
                                firsts.push(pushed);
                            }
                        }
                        prop_assert!(firsts.iter().all(|k| alone(k) || batch.tokens + k.cost > BATCH));
                    }
                    for (number, _, pushed) in &mut waiting {
                        let later = ran.iter().filter(|(other, _, _)| other > number);
                        pushed.overtaken_by += later.map(|(_, _, later)| later.cost).sum::<usize>();
                        // Each other class gets what its own class gets, which may be ahead by a batch or a message;
                        // the other task as much as all of them; and batches are filled up.
                        let own = pushed.ahead + BATCH + 2 * LARGEST;
                        let bound = 2 * ((SIZE_CLASSES - 1) * own + 2 * BATCH) + pushed.ahead + 2 * LARGEST;
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
fn possible_poison_messages_run_alone_unless_there_are_many() {
    let of = |possible_poison: usize| {
        let mut queue = Queue::new(1, BATCH);
        for n in 0..20 {
            queue.push(0, 1, n < possible_poison, Instant::now(), n).unwrap();
        }
        batches(queue)
    };
    assert_eq!(of(2), [vec![0], vec![1], (2..20).collect()]);
    assert_eq!(of(17), [(0..20).collect::<Vec<_>>()]);
}
