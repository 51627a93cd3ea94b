use super::*;

/// Repeatable numbers, roughly normal.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn normal(&mut self) -> f32 {
        (0..6).map(|_| self.bits() as f32 / (1u64 << 31) as f32 - 0.5).sum()
    }
    fn numbers(&mut self, n: usize) -> Vec<f32> {
        (0..n).map(|_| self.normal()).collect()
    }
}

fn close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len());
    for (i, (a, b)) in a.iter().zip(b).enumerate() {
        assert!((a - b).abs() <= tolerance, "at {i}: {a} and {b}");
    }
}

struct Layer {
    depth: usize,
    channels: usize,
    weight: Vec<i8>,
    scale: Vec<f32>,
    offset: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    /// Weights of input channels from `width` on are padding: zero.
    fn new(random: &mut Random, width: usize, channels: usize) -> Self {
        let depth = width.next_multiple_of(DEPTH);
        let mut weight: Vec<i8> = (0..depth * channels).map(|_| (random.bits() % 127) as i8 - 63).collect();
        for (i, w) in weight.iter_mut().enumerate() {
            let k = i / 64 % (depth / 4) * 4 + i % 4;
            if k >= width {
                *w = 0;
            }
        }
        let mut layer = Self {
            depth,
            channels,
            weight,
            scale: (0..channels).map(|_| 0.01 + random.normal().abs() * 0.01).collect(),
            offset: Vec::new(),
            bias: random.numbers(channels),
        };
        layer.offset = (0..channels)
            .map(|c| layer.scale[c] * (0..depth).map(|k| f32::from(layer.at(c, k))).sum::<f32>())
            .collect();
        layer
    }
    fn at(&self, channel: usize, k: usize) -> i8 {
        let panel = channel / PANEL * self.depth * PANEL;
        self.weight[panel + k / 4 * 64 + channel % PANEL * 4 + k % 4]
    }
    fn view(&self) -> Linear<'_> {
        Linear {
            depth: self.depth,
            channels: self.channels,
            weight: &self.weight,
            scale: &self.scale,
            offset: &self.offset,
            bias: &self.bias,
        }
    }
}

/// Every instruction set gives the bytes of the plain one; the extremes of both operand ranges are among them.
#[test]
fn products_are_exact_on_every_instruction_set() {
    let mut random = Random(1);
    let layer = {
        let mut layer = Layer::new(&mut random, 384, 96);
        layer.weight[..384 * 16].fill(63);
        layer.weight[384 * 16..384 * 32].fill(-63);
        // Whole-number scales and biases make the results whole and so free of rounding.
        layer.scale.fill(1.0);
        layer.offset.fill(0.0);
        layer.bias.fill(0.0);
        layer
    };
    for rows in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 17, 24, 31, 32, 33, 48, 65] {
        let mut x = Rows::default();
        x.reset(rows, 384);
        x.scale.fill(1.0);
        x.zero.fill(0.0);
        for (i, byte) in x.bytes.iter_mut().enumerate() {
            *byte = if i < 384 { 127 } else { (random.bits() % 128) as u8 };
        }
        let expected: Vec<f32> = (0..rows * layer.channels)
            .map(|i| {
                let (r, c) = (i / layer.channels, i % layer.channels);
                (0..384).map(|k| i32::from(x.bytes[r * 384 + k]) * i32::from(layer.at(c, k))).sum::<i32>() as f32
            })
            .collect();
        for isa in Isa::available() {
            let mut out = vec![f32::NAN; rows * layer.channels];
            isa.matmul(&x, &layer.view(), Activation::None, &mut out, layer.channels);
            assert_eq!(out, expected, "{isa}, {rows} rows");
        }
    }
}

#[test]
fn a_linear_layer_agrees_with_floats() {
    let mut random = Random(2);
    let (rows, width) = (7, 96);
    let layer = Layer::new(&mut random, width, 64);
    let x = random.numbers(rows * width);
    let input: Vec<f32> = (0..width).map(|_| 0.5 + random.normal().abs()).collect();
    for isa in Isa::available() {
        let mut q = Rows::default();
        isa.quantise(&x, width, Some(&input), &mut q);
        let mut out = vec![0.0; rows * 64];
        isa.matmul(&q, &layer.view(), Activation::None, &mut out, layer.channels);
        for r in 0..rows {
            for c in 0..64 {
                let exact: f32 = (0..width)
                    .map(|k| x[r * width + k] * input[k] * f32::from(layer.at(c, k)) * layer.scale[c])
                    .sum::<f32>()
                    + layer.bias[c];
                // Rounding to 127 steps: an error of half a step in each of 96 inputs, weights of up to 63 · 0.03.
                assert!((out[r * 64 + c] - exact).abs() < 0.4, "{isa}: {} and {exact}", out[r * 64 + c]);
            }
        }
    }
}

#[test]
fn quantising_rounds_to_the_nearest_and_keeps_zero() {
    for isa in Isa::available() {
        let mut x = vec![0.0; 64];
        x[3] = -1.0;
        x[9] = 3.0;
        x[40..].fill(0.5);
        let mut q = Rows::default();
        isa.quantise(&x, 32, None, &mut q);
        let back = |r: usize, i: usize| q.scale[r] * (f32::from(q.bytes[r * 64 + i]) - q.zero[r]);
        assert_eq!(back(0, 0), 0.0);
        assert!((back(0, 3) + 1.0).abs() < 0.02 && (back(0, 9) - 3.0).abs() < 0.02, "{isa}");
        assert_eq!((q.bytes[64 + 8], q.zero[1]), (127, 0.0), "{isa}");
        isa.quantise(&[0.0; 32], 32, None, &mut q);
        assert!(q.bytes[..32].iter().all(|&b| f32::from(b) == q.zero[0]), "{isa}");
    }
}

#[test]
fn gelu_is_close_everywhere() {
    // One layer whose weights are zero, so that its output is the bias.
    let mut layer = Layer::new(&mut Random(3), 64, 1024);
    layer.weight.fill(0);
    layer.offset.fill(0.0);
    layer.bias = (0..1024).map(|i| (i as f32 - 512.0) / 40.0).collect();
    for isa in Isa::available() {
        let mut q = Rows::default();
        isa.quantise(&[1.0; 64], 64, None, &mut q);
        let mut out = vec![0.0; 1024];
        isa.matmul(&q, &layer.view(), Activation::Gelu, &mut out, layer.channels);
        let exact: Vec<f32> = layer
            .bias
            .iter()
            .map(|&x| (0.5 * f64::from(x) * (1.0 + libm::erf(f64::from(x) / std::f64::consts::SQRT_2))) as f32)
            .collect();
        close(&out, &exact, 1.5e-4);
    }
}

#[test]
fn attention_agrees_with_the_definition() {
    let mut random = Random(4);
    let (heads, width) = (2, 64);
    let hidden = heads * width;
    let lengths = [1, 2, 16, 17, 5, 40];
    let tokens: usize = lengths.iter().sum();
    let mut qkv = random.numbers(tokens * 3 * hidden);
    // Scores far below zero, where a wrong maximum would underflow.
    for d in 0..width {
        qkv[3 * 3 * hidden + d] = 40.0;
        for j in 3..19 {
            qkv[j * 3 * hidden + hidden + d] = -9.0 - random.normal().abs();
        }
    }
    let mut expected = vec![0.0; tokens * hidden];
    let mut start = 0;
    for &n in &lengths {
        for h in 0..heads {
            let at = |row: usize, part: usize, d: usize| {
                f64::from(qkv[(start + row) * 3 * hidden + part * hidden + h * width + d])
            };
            for i in 0..n {
                let scores: Vec<f64> = (0..n)
                    .map(|j| (0..width).map(|d| at(i, 0, d) * at(j, 1, d)).sum::<f64>() / (width as f64).sqrt())
                    .collect();
                let most = scores.iter().copied().fold(f64::MIN, f64::max);
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp()).collect();
                let sum: f64 = weights.iter().sum();
                for d in 0..width {
                    expected[(start + i) * hidden + h * width + d] =
                        ((0..n).map(|j| weights[j] * at(j, 2, d)).sum::<f64>() / sum) as f32;
                }
            }
        }
        start += n;
    }
    for isa in Isa::available() {
        let mut out = vec![0.0; tokens * hidden];
        isa.attention(&qkv, &lengths, heads, hidden, &mut Head::default(), &mut out);
        // Seven bits in queries, keys, values and probabilities.
        close(&out, &expected, 0.12);
    }
}

#[test]
fn norm_mean_and_lookup_agree_with_the_definition() {
    let mut random = Random(5);
    let (rows, width) = (3, 96);
    let (x, y) = (random.numbers(rows * width), random.numbers(rows * width));
    let (gamma, beta) = (random.numbers(width), random.numbers(width));
    let bytes: Vec<i8> = (0..width).map(|i| i as i8 - 48).collect();
    for isa in Isa::available() {
        let mut out = x.clone();
        isa.add_norm(&mut out, &y, &gamma, &beta, 1e-12);
        for r in 0..rows {
            let row: Vec<f32> = (0..width).map(|i| x[r * width + i] + y[r * width + i]).collect();
            let mean = row.iter().sum::<f32>() / width as f32;
            let deviation = (row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / width as f32).sqrt();
            let expected: Vec<f32> = (0..width).map(|i| (row[i] - mean) / deviation * gamma[i] + beta[i]).collect();
            close(&out[r * width..][..width], &expected, 1e-4);
        }
        let mut unit = vec![0.0; width];
        isa.mean_unit(&x, &mut unit);
        let sums: Vec<f32> = (0..width).map(|i| (0..rows).map(|r| x[r * width + i]).sum()).collect();
        let length = sums.iter().map(|v| v * v).sum::<f32>().sqrt();
        close(&unit, &sums.iter().map(|v| v / length).collect::<Vec<_>>(), 1e-6);

        let mut sum = y[..width].to_vec();
        isa.add_scaled(&bytes, 0.25, &mut sum);
        close(&sum, &(0..width).map(|i| y[i] + (i as f32 - 48.0) * 0.25).collect::<Vec<_>>(), 1e-5);
    }
}
