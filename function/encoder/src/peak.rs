//! The processor's highest integer speed, and the speed that the matrix products reach. For benchmarks.

use std::time::{Duration, Instant};

use super::forward::TILE_TOKENS;
use super::kernels::{Activation, Isa, Rows};
use super::{CHUNK_TOKENS, Encoder};

impl Isa {
    /// The 8-bit integer speed that one core reaches when nothing is read from memory, in the instructions of this
    /// set's matrix products: 10⁹ operations a second, a product and an addition being two. Measured for about `time`
    /// in small parts, of which the fastest counts: other processes disturb it least. `None` for the portable set,
    /// which has no instructions of its own.
    pub fn peak(self, time: Duration) -> Option<f64> {
        let mut best = 0.0f64;
        let start = Instant::now();
        loop {
            let (call, mut operations) = (Instant::now(), 0);
            self.spin(20_000, &mut operations);
            if operations == 0 {
                return None;
            }
            best = best.max(operations as f64 / call.elapsed().as_secs_f64() / 1e9);
            if start.elapsed() >= time {
                return Some(best);
            }
        }
    }
}

impl Encoder {
    /// The speed of the model's matrix products, as they are run for a large batch: all layers in order, one thread,
    /// biases and activation functions included. In the unit of [`Isa::peak`] and measured likewise, each product by
    /// itself.
    pub fn product_speed(&self, time: Duration) -> f64 {
        let config = &self.metadata().config;
        let (h, m) = (config.hidden_size, config.intermediate_size);
        let x: Vec<f32> = (0..CHUNK_TOKENS * h.max(m)).map(|i| (i % 251) as f32 - 125.0).collect();
        let quantised = |tokens, width| {
            let mut rows = Rows::default();
            self.isa.quantise(&x[..tokens * width], width, None, &mut rows);
            rows
        };
        let all = quantised(CHUNK_TOKENS, h);
        let (narrow, wide) = (quantised(TILE_TOKENS, h), quantised(TILE_TOKENS, m));
        let mut out = vec![0.0; (CHUNK_TOKENS * 3 * h).max(TILE_TOKENS * m)];
        let layers = self.weights.blocks.iter().flat_map(|block| {
            [
                (&all, &block.qkv, Activation::None, CHUNK_TOKENS),
                (&narrow, &block.attention_output, Activation::None, TILE_TOKENS),
                (&narrow, &block.intermediate, Activation::Gelu, TILE_TOKENS),
                (&wide, &block.output, Activation::None, TILE_TOKENS),
            ]
        });
        let layers: Vec<_> = layers.collect();
        let mut least = vec![f64::INFINITY; layers.len()];
        let start = Instant::now();
        while least.contains(&f64::INFINITY) || start.elapsed() < time {
            for ((rows, layer, activation, _), least) in layers.iter().zip(&mut least) {
                let call = Instant::now();
                self.isa.matmul(rows, &layer.linear, *activation, &mut out, layer.linear.channels);
                *least = least.min(call.elapsed().as_secs_f64());
            }
        }
        let products = layers.iter().map(|(_, layer, _, _)| layer.linear.depth * layer.linear.channels);
        let seconds_a_token = layers.iter().zip(least).map(|((_, _, _, tokens), least)| least / *tokens as f64);
        2.0 * products.sum::<usize>() as f64 / seconds_a_token.sum::<f64>() / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_instruction_set_but_the_portable_one_has_a_peak() {
        let moment = Duration::from_millis(1);
        for isa in Isa::available() {
            assert!(Encoder::embedded().unwrap().with_isa(isa).product_speed(moment) > 0.0);
            match isa.peak(moment) {
                Some(peak) => assert!(peak > 0.0, "{isa}: {peak}"),
                None => assert_eq!(isa.to_string(), "portable"),
            }
        }
    }
}
