//! What the user sees: lines for people, or one JSON object a line.

use std::io::Write;

use serde_json::{Value, json};

use super::trace::{MessageTrace, clean};
use crate::terminal;

pub(super) struct Screen {
    json: bool,
    colour: bool,
    /// Standard output is closed.
    gone: bool,
}

impl Screen {
    pub(super) fn new(json: bool) -> Self {
        Self { json, colour: !json && terminal::colour(), gone: false }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    pub(super) fn trace(&mut self, trace: &MessageTrace) {
        let line = if self.json { trace.json().to_string() } else { trace.line(self.colour) };
        self.write(&line);
    }

    /// Shows the banner, as text or as JSON.
    pub(super) fn banner(&mut self, text: &str, json: &Value) {
        if self.json { self.write(&json.to_string()) } else { self.write(text) }
    }

    /// Shows something that the user should know.
    pub(super) fn notice(&mut self, text: &str) {
        if self.json {
            self.write(&json!({"type": "notice", "text": text}).to_string());
        } else {
            let text = text.lines().map(clean).collect::<Vec<_>>().join("\n");
            let text = self.paint("1", &text);
            self.write(&text);
        }
    }

    /// Shows an event of a service's process, of a build or of the topology: `kind`, `event` and `more` as JSON, `text`
    /// for people.
    pub(super) fn status(&mut self, kind: &str, event: &str, more: Value, text: &str) {
        if !self.json {
            let text = text.lines().map(clean).collect::<Vec<_>>().join("\n");
            return self.write(&text);
        }
        let mut object = json!({"type": kind, "event": event});
        if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
            object.extend(more);
        }
        self.write(&object.to_string());
    }

    /// Shows a line of a service's log that is not about a message.
    pub(super) fn log(&mut self, service: &str, line: &str) {
        let fields: Option<Value> = serde_json::from_str(line).ok().filter(Value::is_object);
        if self.json {
            let object = match fields {
                Some(fields) => json!({"type": "log", "service": service, "fields": fields}),
                None => json!({"type": "log", "service": service, "text": line}),
            };
            return self.write(&object.to_string());
        }
        let text = fields.as_ref().map_or_else(|| line.to_owned(), readable);
        let name = self.paint("2", &format!("[{service}]"));
        self.write(&format!("{name} {}", clean(&text)));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    fn write(&mut self, line: &str) {
        let mut out = std::io::stdout().lock();
        self.gone |= writeln!(out, "{line}").and_then(|()| out.flush()).is_err();
    }
}

/// A structured log line as text: severity, message, then the other fields.
fn readable(fields: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let mut line = format!("{} {}", text(&fields["severity"]), text(&fields["message"]));
    for (name, value) in fields.as_object().into_iter().flatten() {
        let told = ["severity", "message", "time"].contains(&name.as_str()) || name.starts_with("logging.");
        if !told && !value.is_null() {
            line += &format!(" {name}={}", text(value));
        }
    }
    line
}
