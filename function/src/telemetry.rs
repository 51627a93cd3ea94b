//! Logs and metrics.

mod log;
mod metrics;

pub use log::{LogFormat, start};
pub(crate) use metrics::Metrics;
