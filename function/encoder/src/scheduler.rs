//! Distributes the sequences of one [`Encoder::embed`](super::Encoder::embed) call over threads.
//!
//! Sequences are packed into chunks of at most [`CHUNK_TOKENS`], largest first, each into the chunk with the fewest
//! tokens, and threads take chunks from a queue. Where the sequences are too few or too uneven for that, so that one
//! thread would work much longer than the others, all threads compute each pass together instead
//! ([`super::tensor_parallel`]).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::format::Weights;
use super::forward::Scratch;
use super::kernels::Isa;

/// Largest number of tokens in one forward pass of one thread; a longer sequence gets a pass of its own. It bounds
/// scratch memory, and is large enough that each weight fetched from memory is used for many rows.
pub const CHUNK_TOKENS: usize = 256;
/// Starting a thread costs more than it saves for fewer tokens than this.
const MIN_TOKENS_PER_THREAD: usize = 32;
/// How much more than an equal share the busiest thread may have before all threads compute each pass together.
const MAX_IMBALANCE: f64 = 1.08;

/// Runs forward passes, and keeps their scratch memory for later calls.
#[derive(Debug, Default)]
pub(super) struct Scheduler {
    scratches: Mutex<Vec<Scratch>>,
}

/// Sequences of one pass and where their vectors go.
#[derive(Default)]
struct Chunk<'a> {
    sequences: Vec<&'a [u32]>,
    out: Vec<&'a mut [f32]>,
}

impl Scheduler {
    /// Embeds `sequences` on at most `threads` threads. `out`: a vector for each.
    pub(super) fn run(&self, weights: &Weights<'_>, isa: Isa, threads: usize, sequences: &[&[u32]], out: &mut [f32]) {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let tokens: usize = lengths.iter().sum();
        let threads = threads.min(tokens / MIN_TOKENS_PER_THREAD).max(1);
        let count = tokens.div_ceil(CHUNK_TOKENS).next_multiple_of(threads);
        let (mut chunk_of, sums) = evenly(&lengths, count, CHUNK_TOKENS);
        let busiest = evenly(&sums, threads, usize::MAX).1.into_iter().max().unwrap_or(0);
        let together = threads > 1 && busiest as f64 > MAX_IMBALANCE * tokens as f64 / threads as f64;
        let workers = threads.min(weights.metadata.config.num_attention_heads);
        if together {
            chunk_of = in_order(&lengths, workers * CHUNK_TOKENS);
        }
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        let vectors = out.chunks_exact_mut(weights.metadata.config.hidden_size);
        for ((&sequence, out), chunk) in sequences.iter().zip(vectors).zip(chunk_of) {
            if chunks.len() <= chunk {
                chunks.resize_with(chunk + 1, Chunk::default);
            }
            chunks[chunk].sequences.push(sequence);
            chunks[chunk].out.push(out);
        }
        if together {
            let mut scratches: Vec<Scratch> = (0..workers).map(|_| self.take()).collect();
            for Chunk { sequences, mut out } in chunks {
                weights.forward_parallel(isa, &sequences, &mut scratches, &mut out);
            }
            self.lock().append(&mut scratches);
        } else {
            self.share_out(weights, isa, threads.min(chunks.len()), chunks);
        }
    }

    /// Each thread takes chunks until there are none.
    fn share_out(&self, weights: &Weights<'_>, isa: Isa, threads: usize, chunks: Vec<Chunk<'_>>) {
        let queue = Mutex::new(chunks.into_iter());
        let work = || {
            let mut scratch = self.take();
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                let Some(Chunk { sequences, mut out }) = next else { break };
                weights.forward(isa, &sequences, &mut scratch, &mut out);
            }
            self.lock().push(scratch);
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
    }

    fn take(&self) -> Scratch {
        self.lock().pop().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Scratch>> {
        self.scratches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Greedy bin packing (longest processing time first): puts each of `sizes`, largest first, into the bin with the
/// smallest sum. There are at least `count` bins; more are opened so that no bin of several items exceeds `most`.
/// Returns the bin of each item, and the sums of the bins.
fn evenly(sizes: &[usize], count: usize, most: usize) -> (Vec<usize>, Vec<usize>) {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| Reverse(sizes[i]));
    let mut bin_of = vec![0; sizes.len()];
    let mut sums = vec![0; count];
    let mut bins: BinaryHeap<Reverse<(usize, usize)>> = (0..count).map(|bin| Reverse((0, bin))).collect();
    for i in order {
        let least = bins.pop().map(|Reverse(least)| least);
        let bin = match least {
            Some((sum, bin)) if sum == 0 || sum.saturating_add(sizes[i]) <= most => bin,
            fuller => {
                bins.extend(fuller.map(Reverse));
                sums.push(0);
                sums.len() - 1
            }
        };
        sums[bin] += sizes[i];
        bins.push(Reverse((sums[bin], bin)));
        bin_of[i] = bin;
    }
    (bin_of, sums)
}

/// Cuts `sizes` into consecutive runs whose sum is at most `most`, a larger item alone. Returns the run number of
/// each item.
fn in_order(sizes: &[usize], most: usize) -> Vec<usize> {
    let (mut run, mut sum) = (0, 0);
    let run_of = |&size: &usize| {
        if sum > 0 && sum + size > most {
            (run, sum) = (run + 1, 0);
        }
        sum += size;
        run
    };
    sizes.iter().map(run_of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_are_even_and_bounded() {
        let lengths = [200, 200, 110, 4, 90, 256, 300, 31, 64, 64];
        let (bin_of, sums) = evenly(&lengths, 6, CHUNK_TOKENS);
        for (bin, &sum) in sums.iter().enumerate() {
            let own: Vec<usize> = (0..lengths.len()).filter(|&i| bin_of[i] == bin).map(|i| lengths[i]).collect();
            assert_eq!(own.iter().sum::<usize>(), sum);
            assert!(sum <= CHUNK_TOKENS || own.len() == 1, "{own:?}");
        }
        assert_eq!(evenly(&[64; 32], 8, CHUNK_TOKENS).1, [256; 8]);
        assert_eq!(evenly(&[9, 8, 7, 3, 2, 1], 2, usize::MAX).1, [15, 15]);
    }

    #[test]
    fn runs_keep_the_order_and_the_bound() {
        assert_eq!(in_order(&[300, 200, 100, 100, 400, 1, 1], 400), [0, 1, 1, 1, 2, 3, 3]);
        assert_eq!(in_order(&[], 400), [0; 0]);
    }
}
