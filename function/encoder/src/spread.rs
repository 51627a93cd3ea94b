//! The sequences of one call of [`Encoder::embed`](super::Encoder::embed), cut into forward passes and spread over threads.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::Weights;
use super::forward::Scratch;
use super::kernels::Isa;

/// Tokens that one thread takes through the layers at a time, a longer sequence apart. Bounds scratch memory, and is large
/// enough that weights, once fetched, serve many rows.
pub const CHUNK_TOKENS: usize = 256;
/// A thread is worth starting for this many tokens.
const THREAD_TOKENS: usize = 32;
/// The busiest thread may have this much more than its share before a team does the work instead.
const UNEVEN: f64 = 1.08;

/// Runs forward passes, and keeps their memory for the next ones.
#[derive(Debug, Default)]
pub(super) struct Passes {
    scratches: Mutex<Vec<Scratch>>,
}

/// Sequences of one pass and where their vectors go.
#[derive(Default)]
struct Chunk<'a> {
    sequences: Vec<&'a [u32]>,
    out: Vec<&'a mut [f32]>,
}

impl Passes {
    /// Embeds `sequences` on at most `threads` threads. `out`: a vector for each.
    pub(super) fn run(&self, weights: &Weights<'_>, isa: Isa, threads: usize, sequences: &[&[u32]], out: &mut [f32]) {
        let lengths: Vec<usize> = sequences.iter().map(|s| s.len()).collect();
        let tokens: usize = lengths.iter().sum();
        let threads = threads.min(tokens / THREAD_TOKENS).max(1);
        let count = tokens.div_ceil(CHUNK_TOKENS).next_multiple_of(threads);
        let (mut chunk_of, sums) = evenly(&lengths, count, CHUNK_TOKENS);
        let busiest = evenly(&sums, threads, usize::MAX).1.into_iter().max().unwrap_or(0);
        let by_team = threads > 1 && busiest as f64 > UNEVEN * tokens as f64 / threads as f64;
        let team = threads.min(weights.about.config.num_attention_heads);
        if by_team {
            chunk_of = in_order(&lengths, team * CHUNK_TOKENS);
        }
        let mut chunks: Vec<Chunk<'_>> = Vec::new();
        let vectors = out.chunks_exact_mut(weights.about.config.hidden_size);
        for ((&sequence, out), chunk) in sequences.iter().zip(vectors).zip(chunk_of) {
            if chunks.len() <= chunk {
                chunks.resize_with(chunk + 1, Chunk::default);
            }
            chunks[chunk].sequences.push(sequence);
            chunks[chunk].out.push(out);
        }
        if by_team {
            let mut scratches: Vec<Scratch> = (0..team).map(|_| self.take()).collect();
            for Chunk { sequences, mut out } in chunks {
                weights.forward_by_team(isa, &sequences, &mut scratches, &mut out);
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

/// Deals `sizes`, largest first, each to the bin with least in it, of at least `count` bins; further ones keep bins of more than
/// one thing within `most`. Returns each thing's bin, and the bins' sums.
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

/// The number of the run that each of `sizes` is in, when runs of more than one are at most `most` in sum.
fn in_order(sizes: &[usize], most: usize) -> Vec<usize> {
    let (mut run, mut sum) = (0, 0);
    let place = |&size: &usize| {
        if sum > 0 && sum + size > most {
            (run, sum) = (run + 1, 0);
        }
        sum += size;
        run
    };
    sizes.iter().map(place).collect()
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
