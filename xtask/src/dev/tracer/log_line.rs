//! Log lines of services.

use serde_json::Value;

/// A line of a service's log about one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogLine {
    pub(super) id: String,
    pub(super) task: String,
    pub(super) outcome: String,
    /// Milliseconds in the service.
    pub(super) ms: Option<f64>,
    pub(super) detail: Option<String>,
}

impl LogLine {
    /// Reads a line; `None` if it is about something else.
    pub(crate) fn read(line: &Value) -> Option<Self> {
        if line["message"] != "message" {
            return None;
        }
        let text = |key: &str| line[key].as_str().map(str::to_owned);
        let (id, task, outcome) = (text("message_id")?, text("task").unwrap_or_default(), text("outcome")?);
        Some(Self { id, task, outcome, ms: line["ms"].as_f64(), detail: text("detail") })
    }
}
