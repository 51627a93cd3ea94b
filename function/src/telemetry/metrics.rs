//! Prometheus metrics of one process.

use std::fmt::Write;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Everything that is counted. Names follow Prometheus: base units, `_total` for counters.
pub(crate) struct Metrics {
    registry: Registry,
    messages: Family<MessageLabels, Counter>,
    message_seconds: Family<TaskLabel, Histogram>,
    queue_tokens: Gauge,
    batch_messages: Histogram,
    batch_tokens: Histogram,
    batch_seconds: Histogram,
    busy_seconds: Counter<f64, AtomicU64>,
    hung: Counter,
    refused: Family<RefusedLabels, Counter>,
    repeats: Family<RepeatLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    task: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RepeatLabels {
    known_by: &'static str,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 15)) // 1 ms to 16 s
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::default();
        let messages = Family::default();
        registry.register("messages", "Messages by task and outcome", messages.clone());
        let message_seconds = Family::new_with_constructor(seconds as fn() -> Histogram);
        registry.register_with_unit(
            "message",
            "From arrival to outcome, delivery of the result included",
            Unit::Seconds,
            message_seconds.clone(),
        );
        let queue_tokens = Gauge::default();
        registry.register("queue_tokens", "Tokens waiting for a batch", queue_tokens.clone());
        let batch_messages = Histogram::new(exponential_buckets(1.0, 2.0, 11));
        registry.register("batch_messages", "Messages of a batch", batch_messages.clone());
        let batch_tokens = Histogram::new(exponential_buckets(8.0, 2.0, 14));
        registry.register("batch_tokens", "Tokens of a batch", batch_tokens.clone());
        let batch_seconds = seconds();
        registry.register_with_unit("batch", "Run time of a batch", Unit::Seconds, batch_seconds.clone());
        let busy_seconds = Counter::default();
        registry.register_with_unit("busy", "Time in which workers ran batches", Unit::Seconds, busy_seconds.clone());
        let hung = Counter::default();
        registry.register("hung_batches", "Batches that a task did not end in time", hung.clone());
        let refused = Family::default();
        registry.register("refused_requests", "Requests that held no message to work on, by status", refused.clone());
        let repeats = Family::default();
        registry.register("repeated_messages", "Messages whose work was done before, by who knew", repeats.clone());
        Self {
            registry,
            messages,
            message_seconds,
            queue_tokens,
            batch_messages,
            batch_tokens,
            batch_seconds,
            busy_seconds,
            hung,
            refused,
            repeats,
        }
    }
}

impl Metrics {
    /// `task` is one that exists, or empty.
    pub(crate) fn message(&self, task: &str, outcome: &'static str, seconds: f64) {
        self.messages.get_or_create(&MessageLabels { task: task.to_owned(), outcome }).inc();
        self.message_seconds.get_or_create(&TaskLabel { task: task.to_owned() }).observe(seconds);
    }

    pub(crate) fn queue_tokens(&self, tokens: usize) {
        self.queue_tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    pub(crate) fn batch(&self, messages: usize, tokens: usize, seconds: f64) {
        self.batch_messages.observe(messages as f64);
        self.batch_tokens.observe(tokens as f64);
        self.batch_seconds.observe(seconds);
        self.busy_seconds.inc_by(seconds);
    }

    pub(crate) fn hung(&self) {
        self.hung.inc();
    }

    pub(crate) fn refused(&self, status: u16) {
        self.refused.get_or_create(&RefusedLabels { status }).inc();
    }

    /// `known_by`, the label of the metric, is `process` or `ledger`.
    pub(crate) fn repeat(&self, known_by: &'static str) {
        self.repeats.get_or_create(&RepeatLabels { known_by }).inc();
    }

    /// The OpenMetrics text that Prometheus scrapes.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            text.clear();
            let _ = writeln!(text, "# EOF");
        }
        text
    }
}
