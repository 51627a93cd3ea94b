//! What happened to one message, or in one failed attempt of it: as a line and as JSON.

use pubsub::Time;
use serde_json::{Value, json};

/// The most characters of a result, or of a detail, in a line.
const MAX_EXCERPT_CHARS: usize = 160;
/// The most bytes of a result that is shown as JSON.
const MAX_RESULT_BYTES: usize = 16 << 10;

/// From topic to outcome. Parts that were not learned are empty.
#[derive(Clone, Debug, Default)]
pub(super) struct MessageTrace {
    pub(super) id: String,
    /// Names are without the project.
    pub(super) topic: String,
    pub(super) subscription: String,
    pub(super) filter: Option<String>,
    pub(super) eventarc: bool,
    pub(super) service: Option<String>,
    pub(super) task: Option<String>,
    /// `done`, `rejected`, `retry`, `overloaded` from the service's log; else `acked`, `failed`, `expired`,
    /// `dead-lettered`, `discarded`, `filtered` from Pub/Sub's events.
    pub(super) outcome: String,
    /// Time in the service; else from delivery to acknowledgement or nack.
    pub(super) ms: Option<f64>,
    /// Time from publish to outcome.
    pub(super) total_ms: Option<f64>,
    pub(super) attempt: Option<u32>,
    pub(super) detail: Option<String>,
    pub(super) result: Option<ResultExcerpt>,
    pub(super) letter: Option<DeadLetter>,
    pub(super) time: Option<Time>,
}

/// Where a message was dead-lettered, and why.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DeadLetter {
    pub(super) topic: String,
    pub(super) reason: String,
}

/// The part of a result that is shown.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ResultExcerpt {
    /// The whole result; `None` if it is too long, or not JSON.
    value: Option<Value>,
    bytes: usize,
    brief: String,
}

impl ResultExcerpt {
    pub(super) fn of(data: &[u8]) -> Self {
        let value: Option<Value> = serde_json::from_slice(data).ok();
        let brief = match &value {
            // The results themselves, without model and usage.
            Some(value) => brief(value.get("data").or_else(|| value.get("results")).unwrap_or(value)),
            None => String::from_utf8_lossy(&data[..data.len().min(4 * MAX_EXCERPT_CHARS)]).into_owned(),
        };
        Self {
            value: value.filter(|_| data.len() <= MAX_RESULT_BYTES),
            bytes: data.len(),
            brief: cut(&brief, MAX_EXCERPT_CHARS),
        }
    }
}

impl MessageTrace {
    pub(super) fn json(&self) -> Value {
        let time =
            self.time.and_then(|time| jiff::Timestamp::from_microsecond(i64::try_from(time.as_micros()).ok()?).ok());
        let mut json = json!({
            "type": "message", "id": self.id, "topic": self.topic, "subscription": self.subscription, "outcome": self.outcome,
        });
        let mut put = |key: &str, value: Value| {
            if !value.is_null() {
                json[key] = value;
            }
        };
        put("time", json!(time.map(|time| time.to_string())));
        put("filter", json!(self.filter));
        put("service", json!(self.service));
        put("task", json!(self.task));
        put("ms", json!(self.ms));
        put("total_ms", json!(self.total_ms));
        put("attempt", json!(self.attempt));
        put("detail", json!(self.detail));
        put(
            "dead_letter",
            json!(self.letter.as_ref().map(|letter| json!({"topic": letter.topic, "reason": letter.reason}))),
        );
        if let Some(result) = &self.result {
            put("result", json!(result.value));
            put("result_bytes", json!(result.bytes));
        }
        json
    }

    /// `#17 topic → subscription (filter) → service → task → done 12 ms  result`
    pub(super) fn line(&self, colour: bool) -> String {
        let paint =
            |code: &str, text: &str| if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() };
        let mut stops = vec![self.topic.clone()];
        let subscription = if self.eventarc { "Eventarc" } else { &self.subscription };
        match &self.filter {
            Some(filter) => stops.push(format!("{subscription} ({})", cut(filter, 60))),
            None if subscription.is_empty() => {}
            None => stops.push(subscription.to_owned()),
        }
        stops.extend(self.service.clone());
        stops.extend(self.task.clone().filter(|task| !task.is_empty()));
        let stops: Vec<String> = stops.iter().map(|stop| clean(stop)).collect();
        let code = match self.outcome.as_str() {
            "done" | "acked" => "32",
            "retry" | "overloaded" | "expired" | "filtered" => "33",
            _ => "31",
        };
        let mut line = format!("{} {}", paint("2", &format!("#{}", self.id)), stops.join(" → "));
        line += &format!(" → {}", paint(code, &self.outcome));
        if let Some(ms) = self.ms {
            line += &if ms < 10.0 { format!(" {ms:.1} ms") } else { format!(" {ms:.0} ms") };
        }
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt > 1) {
            line += &format!(", attempt {attempt}");
        }
        if let Some(DeadLetter { topic, reason }) = &self.letter {
            line += &format!(" → {} ({})", clean(topic), clean(reason));
        }
        if let Some(detail) = &self.detail {
            line += &format!(": {}", cut(detail, MAX_EXCERPT_CHARS));
        }
        if let Some(result) = &self.result {
            line += &format!("  {}", paint("2", &result.brief));
        }
        line
    }
}

/// JSON with long lists and texts shortened.
fn brief(value: &Value) -> String {
    const MAX_ITEMS_SHOWN: usize = 3;
    match value {
        Value::Array(items) => {
            let mut shown: Vec<String> = items.iter().take(MAX_ITEMS_SHOWN).map(brief).collect();
            if items.len() > MAX_ITEMS_SHOWN {
                shown.push(format!("… {} in all", items.len()));
            }
            format!("[{}]", shown.join(", "))
        }
        Value::Object(fields) => {
            // The task's name and the order tell these already.
            let told = fields.iter().filter(|(key, value)| *key != "object" && !(*key == "index" && **value == 0));
            let shown: Vec<String> = told.map(|(key, value)| format!("{key}: {}", brief(value))).collect();
            format!("{{{}}}", shown.join(", "))
        }
        Value::Number(number) if number.is_f64() => {
            number.as_f64().map_or_else(|| number.to_string(), |number| format!("{number:.4}"))
        }
        Value::String(text) => cut(text, 60),
        other => other.to_string(),
    }
}

/// The first `most` characters, with control characters escaped.
fn cut(text: &str, most: usize) -> String {
    let mut short: String = clean(&text.chars().take(most).collect::<String>());
    if text.chars().nth(most).is_some() {
        short.push('…');
    }
    short
}

/// Text from outside with control characters escaped, so that it cannot control a terminal.
pub(super) fn clean(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { clean.extend(c.escape_default()) } else { clean.push(c) }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_the_stops_and_what_came_of_it() {
        let result =
            r#"{"model": "m", "data": [{"index": 0, "label": "billing", "scores": [1, 2, 3, 4, 5]}], "usage": {}}"#;
        let mut trace = MessageTrace {
            id: "17".to_owned(),
            topic: "work".to_owned(),
            subscription: "eventarc-x".to_owned(),
            eventarc: true,
            service: Some("function".to_owned()),
            task: Some("classify".to_owned()),
            outcome: "done".to_owned(),
            ms: Some(9.26),
            result: Some(ResultExcerpt::of(result.as_bytes())),
            ..MessageTrace::default()
        };
        assert_eq!(
            trace.line(false),
            "#17 work → Eventarc → function → classify → done 9.3 ms  [{label: billing, scores: [1, 2, 3, … 5 in all]}]"
        );
        assert_eq!(trace.json()["result"]["data"][0]["label"], "billing");
        trace.result = None;
        trace.outcome = "rejected".to_owned();
        trace.detail = Some("no such\u{1b}[31m task".to_owned());
        trace.letter = Some(DeadLetter { topic: "dead".to_owned(), reason: "unknown-task".to_owned() });
        let line = trace.line(false);
        assert!(line.ends_with("rejected 9.3 ms → dead (unknown-task): no such\\u{1b}[31m task"), "{line}");
    }

    #[test]
    fn a_long_result_is_cut_and_said_to_be() {
        let vector: Vec<f64> = (0..10_000).map(|n| f64::from(n) / 3.0).collect();
        let text = json!({"data": [{"embedding": vector}]}).to_string();
        let trace = MessageTrace { result: Some(ResultExcerpt::of(text.as_bytes())), ..MessageTrace::default() };
        assert!(trace.line(false).contains("0.0000, 0.3333, 0.6667, … 10000 in all"), "{}", trace.line(false));
        assert_eq!((trace.json().get("result"), &trace.json()["result_bytes"]), (None, &json!(text.len())));
    }
}
