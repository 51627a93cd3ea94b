//! One forward pass on several threads, for calls with too few sequences to give each thread its own.
//!
//! Each thread owns some attention heads, for which it computes attention over all tokens, and some tokens, for which
//! it computes everything else. Twice a layer all threads wait at a barrier: after quantising their tokens, which
//! every thread then reads, and after attention, whose output each thread reads for its own tokens. Every number goes
//! through the same operations in the same order as in [`Weights::forward`], so the result is bit-identical.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::format::Weights;
use super::forward::{Scratch, Work, positioned_tokens, resize};
use super::kernels::{Activation, Isa, Rows};

/// What the threads of one pass share. No lock is ever contended: the [`SpinBarrier`] separates writing from reading.
struct TensorParallel<'a> {
    weights: &'a Weights<'a>,
    isa: Isa,
    lengths: &'a [usize],
    tokens: usize,
    /// Per thread: its tokens, quantised.
    rows: Vec<RwLock<Rows>>,
    /// Per thread: `[tokens][its heads · width]`, the output of attention.
    contexts: Vec<RwLock<Vec<f32>>>,
    barrier: SpinBarrier,
}

impl Weights<'_> {
    /// As [`forward`](Self::forward), on as many threads as there are `scratches`, the calling thread included: at
    /// least one, at most one per head.
    pub(super) fn forward_parallel(
        &self,
        isa: Isa,
        sequences: &[&[u32]],
        scratches: &mut [Scratch],
        out: &mut [&mut [f32]],
    ) {
        let h = self.metadata.config.hidden_size;
        let [Scratch { x, lengths, work }, others @ ..] = scratches else { return };
        lengths.clear();
        lengths.extend(sequences.iter().map(|s| s.len()));
        let tokens = lengths.iter().sum();
        // All token vectors are in one buffer, since they are pooled at the end; everything else belongs to one thread.
        let x = resize(x, tokens * h);
        let mut works = vec![work];
        works.extend(others.iter_mut().map(|scratch| &mut scratch.work));
        let pass = TensorParallel {
            weights: self,
            isa,
            lengths,
            tokens,
            rows: works.iter_mut().map(|work| RwLock::new(std::mem::take(&mut work.rows))).collect(),
            contexts: works.iter_mut().map(|work| RwLock::new(std::mem::take(&mut work.context))).collect(),
            barrier: SpinBarrier::default(),
        };
        std::thread::scope(|scope| {
            let mut rest = &mut *x;
            let mut callers = None;
            for (thread, work) in works.iter_mut().enumerate() {
                let own = pass.share(tokens, thread);
                let (x, later) = std::mem::take(&mut rest).split_at_mut(own.len() * h);
                rest = later;
                let pass = &pass;
                let run = move || pass.run(thread, positioned_tokens(sequences).skip(own.start), x, work);
                if thread == 0 {
                    callers = Some(run);
                } else {
                    scope.spawn(run);
                }
            }
            if let Some(mut run) = callers {
                run();
            }
        });
        for ((work, rows), context) in works.into_iter().zip(pass.rows).zip(pass.contexts) {
            work.rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
            work.context = context.into_inner().unwrap_or_else(PoisonError::into_inner);
        }
        self.pool(isa, lengths, x, out);
    }
}

impl TensorParallel<'_> {
    /// The range of `count` items that belongs to a thread.
    fn share(&self, count: usize, thread: usize) -> Range<usize> {
        let threads = self.rows.len();
        count * thread / threads..count * (thread + 1) / threads
    }

    /// One thread's part of the pass. `tokens`: starting at its first token; `x`: its tokens, `[tokens][hidden]`.
    fn run(&self, thread: usize, tokens: impl Iterator<Item = (usize, u32)>, x: &mut [f32], work: &mut Work) {
        let _guard = PanicGuard(&self.barrier);
        let Self { weights, isa, .. } = *self;
        let (h, heads) = (weights.metadata.config.hidden_size, weights.metadata.config.num_attention_heads);
        let width = h / heads;
        let own = self.share(heads, thread);
        let (first, wide) = (own.start * width, own.len() * width);
        weights.look_up(isa, tokens, x, work);
        for block in &weights.blocks {
            isa.quantise(x, h, block.qkv.input, &mut write(&self.rows[thread]));
            self.wait_for_all();

            let qkv = resize(&mut work.wide, self.tokens * 3 * wide);
            for (other, rows) in self.rows.iter().enumerate() {
                let tokens = self.share(self.tokens, other);
                for part in 0..3 {
                    let layer = block.qkv.linear.part(part * h + first..part * h + first + wide);
                    let out = &mut qkv[tokens.start * 3 * wide..tokens.end * 3 * wide][part * wide..];
                    isa.matmul(&read(rows), &layer, Activation::None, out, 3 * wide);
                }
            }
            {
                let mut context = write(&self.contexts[thread]);
                let context = resize(&mut context, self.tokens * wide);
                isa.attention(qkv, self.lengths, own.len(), wide, &mut work.head, context);
            }
            self.wait_for_all();

            let y = resize(&mut work.y, x.len());
            let tokens = self.share(self.tokens, thread);
            for (other, context) in self.contexts.iter().enumerate() {
                let heads = self.share(heads, other);
                let (first, wide) = (heads.start * width, heads.len() * width);
                let context = &read(context)[tokens.start * wide..tokens.end * wide];
                for (row, context) in y.chunks_exact_mut(h).zip(context.chunks_exact(wide)) {
                    row[first..][..wide].copy_from_slice(context);
                }
            }
            weights.after_attention(isa, block, x, work);
        }
    }

    /// Waits until every thread of the pass has arrived.
    fn wait_for_all(&self) {
        self.barrier.wait(self.rows.len());
    }
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// A barrier that spins before it yields: threads arrive within microseconds of each other, less than waking a thread
/// takes.
#[derive(Default)]
struct SpinBarrier {
    arrived: AtomicUsize,
    round: AtomicUsize,
    /// A thread has panicked and will not arrive.
    broken: AtomicBool,
}

impl SpinBarrier {
    const SPINS: usize = 10_000;

    fn wait(&self, threads: usize) {
        let round = self.round.load(Ordering::Acquire);
        if self.arrived.fetch_add(1, Ordering::AcqRel) + 1 == threads {
            self.arrived.store(0, Ordering::Relaxed);
            self.round.store(round + 1, Ordering::Release);
            return;
        }
        let mut spins = 0;
        while self.round.load(Ordering::Acquire) == round {
            assert!(!self.broken.load(Ordering::Relaxed), "another thread of the forward pass panicked");
            spins += 1;
            // A thread that is this late may be waiting for this core.
            if spins < Self::SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }
}

/// Breaks the barrier when its thread panics, so that the others do not wait for it forever.
struct PanicGuard<'a>(&'a SpinBarrier);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.broken.store(true, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encoder;

    #[test]
    fn several_threads_compute_what_one_thread_does() {
        let mut encoder = Encoder::embedded().unwrap();
        let lengths: [&[usize]; 4] = [&[70], &[256, 4, 9], &[64; 3], &[1, 130, 500]];
        for lengths in lengths {
            let sequences: Vec<Vec<u32>> =
                lengths.iter().map(|&n| (0..n as u32).map(|i| 1000 + i * 7919 % 20_000).collect()).collect();
            encoder = encoder.with_threads(1);
            let alone = encoder.embed(&sequences);
            for threads in [2, 3, 5, 40] {
                encoder = encoder.with_threads(threads);
                assert_eq!(encoder.embed(&sequences), alone, "{lengths:?} on {threads} threads");
            }
        }
    }

    #[test]
    fn a_thread_that_panics_does_not_leave_the_others_waiting() {
        let barrier = SpinBarrier::default();
        let waiting = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| barrier.wait(2));
            let panicked = scope.spawn(|| {
                let _guard = PanicGuard(&barrier);
                panic!("on purpose");
            });
            assert!(panicked.join().is_err());
            waiting.join()
        });
        assert!(waiting.is_err());
    }
}
