//! The speed of matrix products on this machine, and the most that the processor could do, for benchmarks.

use std::time::{Duration, Instant};

use super::kernels::{Activation, Isa, Rows};
use super::{CHUNK_TOKENS, Encoder};

impl Isa {
    /// The 8-bit integer speed that one core reaches when nothing is read from memory, in the instructions of this set's matrix
    /// products: 10⁹ operations a second, a product and an addition being two. Measured for about `time`, of which the fastest
    /// part counts. `None` for the portable set, which has no instructions of its own.
    pub fn peak(self, time: Duration) -> Option<f64> {
        let mut operations = 0;
        let speed = fastest(time, || {
            self.spin(20_000, &mut operations);
            operations
        });
        (operations > 0).then_some(speed)
    }
}

impl Encoder {
    /// The speed of the model's matrix products, as they are run for a large batch: all layers in order on [`CHUNK_TOKENS`]
    /// tokens, one thread, biases and activation functions included, in the unit of [`Isa::peak`] and measured likewise.
    pub fn product_speed(&self, time: Duration) -> f64 {
        let config = &self.about().config;
        let (h, m) = (config.hidden_size, config.intermediate_size);
        let x: Vec<f32> = (0..CHUNK_TOKENS * h.max(m)).map(|i| (i % 251) as f32 - 125.0).collect();
        let (mut narrow, mut wide) = (Rows::default(), Rows::default());
        self.isa.quantise(&x[..CHUNK_TOKENS * h], h, None, &mut narrow);
        self.isa.quantise(&x[..CHUNK_TOKENS * m], m, None, &mut wide);
        let mut out = vec![0.0; CHUNK_TOKENS * (3 * h).max(m)];
        fastest(time, || {
            let mut operations = 0;
            for block in &self.weights.blocks {
                for (x, layer, activation) in [
                    (&narrow, &block.qkv, Activation::None),
                    (&narrow, &block.attention_output, Activation::None),
                    (&narrow, &block.intermediate, Activation::Gelu),
                    (&wide, &block.output, Activation::None),
                ] {
                    let w = &layer.linear;
                    self.isa.matmul(x, w, activation, &mut out[..CHUNK_TOKENS * w.channels]);
                    operations += 2 * CHUNK_TOKENS * w.depth * w.channels;
                }
            }
            operations as u64
        })
    }
}

/// Calls `work`, which returns the operations it did, until `time` has passed, at least twice. Returns 10⁹ operations a second of
/// the fastest call, which other processes disturbed least.
fn fastest(time: Duration, mut work: impl FnMut() -> u64) -> f64 {
    work();
    let start = Instant::now();
    let mut best = 0.0f64;
    loop {
        let call = Instant::now();
        let operations = work();
        best = best.max(operations as f64 / call.elapsed().as_secs_f64().max(1e-9) / 1e9);
        if start.elapsed() >= time {
            return best;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn every_instruction_set_but_the_portable_one_has_a_peak() {
        let moment = Duration::from_millis(1);
        for isa in Isa::available() {
            assert!(Encoder::embedded().unwrap().with_isa(isa).product_speed(moment) > 0.0);
            match isa.peak(moment) {
                Some(peak) => assert!(peak > 1.0, "{isa}: {peak}"),
                None => assert_eq!(isa.to_string(), "portable"),
            }
        }
    }
}
