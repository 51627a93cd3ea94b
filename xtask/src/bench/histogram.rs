//! Latencies, counted in a fixed amount of memory.

use std::time::Duration;

use serde_json::{Value, json};

/// About twelve days; longer durations count as this long.
const MAX_MICROS: u64 = 1 << 40;
/// Keeps durations to within 0.8 %.
const SIGNIFICANT_DIGITS: u8 = 2;

/// Counts of durations, to the microsecond.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: hdrhistogram::Histogram<u64>,
    /// The longest, exactly.
    max_micros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = hdrhistogram::Histogram::new_with_max(MAX_MICROS, SIGNIFICANT_DIGITS);
        // The bounds are constants that it accepts.
        let counts = counts.unwrap_or_else(|error| panic!("a histogram of up to {MAX_MICROS} µs: {error}"));
        Self { counts, max_micros: 0 }
    }
}

impl Histogram {
    pub(super) fn record(&mut self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(MAX_MICROS);
        self.counts.saturating_record(micros);
        self.max_micros = self.max_micros.max(micros);
    }

    pub(super) fn add(&mut self, other: &Self) {
        // Both have the same bounds, so there is no error.
        let _ = self.counts.add(&other.counts);
        self.max_micros = self.max_micros.max(other.max_micros);
    }

    pub(super) fn total(&self) -> u64 {
        self.counts.len()
    }

    /// The time within which this share of the requests was answered, in milliseconds; 0 if there were none.
    pub(super) fn percentile(&self, percent: f64) -> f64 {
        self.counts.value_at_percentile(percent).min(self.max_micros) as f64 / 1000.0
    }

    /// Percentiles in milliseconds.
    pub(super) fn json(&self) -> Value {
        let [p50, p90, p99, p999, max] = [50.0, 90.0, 99.0, 99.9, 100.0].map(|percent| self.percentile(percent));
        json!({"count": self.total(), "p50": p50, "p90": p90, "p99": p99, "p99.9": p999, "max": max})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_kept_to_within_a_128th() {
        for n in (0..10_000_000_u64).step_by(997) {
            let mut histogram = Histogram::default();
            histogram.record(Duration::from_micros(n));
            histogram.record(Duration::from_secs(3600));
            let kept = (histogram.percentile(50.0) * 1000.0).round() as u64;
            assert!(kept >= n && (kept - n) as f64 <= n as f64 / 128.0, "{n}: {kept}");
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
