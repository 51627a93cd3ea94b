//! Durations counted in buckets, in a fixed amount of memory.

use std::time::Duration;

use serde_json::{Value, json};

/// Buckets of each power of two: durations are kept to within 0.8 %.
const STEPS: u64 = 128;

/// Counts of durations to the microsecond, up to about twelve days.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    most: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; bucket(1 << 40) + 1], total: 0, most: 0 }
    }
}

/// Below `STEPS` a bucket is one microsecond wide, and in each further power of two twice as wide as in the one before.
fn bucket(micros: u64) -> usize {
    let shift = micros.max(1).ilog2().saturating_sub(STEPS.ilog2());
    (u64::from(shift) * STEPS + (micros >> shift)) as usize
}

/// The largest value of a bucket.
fn end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / STEPS).saturating_sub(1);
    ((bucket - shift * STEPS + 1) << shift) - 1
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let micros = (time.as_micros() as u64).min(1 << 40);
        self.counts[bucket(micros)] += 1;
        self.total += 1;
        self.most = self.most.max(micros);
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(own, other)| *own += other);
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// The time within which this share of the requests was answered, in milliseconds; 0 of none.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        let rank = ((percent / 100.0 * self.total as f64).ceil() as u64).clamp(1, self.total.max(1));
        let mut seen = 0;
        let bucket = self.counts.iter().position(|count| {
            seen += count;
            seen >= rank
        });
        bucket.map_or(0, |bucket| end(bucket).min(self.most)) as f64 / 1000.0
    }

    /// Percentiles in milliseconds.
    pub(super) fn json(&self) -> Value {
        let [p50, p90, p99, p999, max] = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percent| self.percentile(percent));
        json!({"count": self.total, "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_and_are_narrow() {
        let mut last = 0;
        for n in 0..10_000_000u64 {
            let own = bucket(n);
            assert!(own == last || (own == last + 1 && end(last) == n - 1), "{n}");
            assert!(end(own) >= n && (end(own) - n) as f64 <= n as f64 / 128.0, "{n}");
            last = own;
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_durations() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(99.0), 0.0);
        (1..=1000).for_each(|n| histogram.record(Duration::from_micros(n * 100)));
        histogram.record(Duration::from_secs(3));
        for (percent, milliseconds) in [(50.0, 50.1), (99.0, 99.1), (100.0, 3000.0)] {
            let own = histogram.percentile(percent);
            assert!((own / milliseconds - 1.0).abs() < 0.01, "{percent}: {own}");
        }
        assert_eq!(histogram.total(), 1001);
    }
}
