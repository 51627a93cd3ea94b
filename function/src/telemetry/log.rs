//! Logs: text for people, or one JSON object a line with the fields that Cloud Logging reads.

use std::fmt;
use std::io::{self, Write};

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Dispatch, Event, Level, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

/// Form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For Cloud Logging: <https://cloud.google.com/logging/docs/structured-logging>.
    Json,
}

/// Starts the log of this process, to standard error; what is logged is `RUST_LOG`'s choice, else `info`. A second call
/// does nothing.
pub fn start(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let dispatch = dispatch(format, filter, io::stderr);
    let _ = tracing::dispatcher::set_global_default(dispatch);
}

fn dispatch<W>(format: LogFormat, filter: EnvFilter, writer: W) -> Dispatch
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    match format {
        LogFormat::Text => log.with_target(false).with_ansi(false).with_writer(Lines(writer)).into(),
        LogFormat::Json => log.event_format(CloudLogging).with_writer(writer).into(),
    }
}

/// Characters that end a line, control a terminal, or change the direction of text: controls, of both sets, separators,
/// and direction marks.
fn must_escape(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Escapes the characters that [`must_escape`] names, so that text from outside cannot forge a line. Colours would be
/// control characters too, so there are none.
struct Lines<W>(W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = Lines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(self.0.make_writer())
    }
}

impl<W: Write> Write for Lines<W> {
    /// Takes a whole event, as the subscriber hands them over.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event.strip_suffix(b"\n").unwrap_or(event));
        let mut line = String::with_capacity(event.len());
        for c in text.chars() {
            if must_escape(c) { line.extend(c.escape_default()) } else { line.push(c) }
        }
        line.push('\n');
        self.0.write_all(line.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

struct CloudLogging;

impl<S, N> FormatEvent<S, N> for CloudLogging
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut line = fields.0;
        let severity = match *event.metadata().level() {
            Level::ERROR => "ERROR",
            Level::WARN => "WARNING",
            Level::INFO => "INFO",
            Level::DEBUG | Level::TRACE => "DEBUG",
        };
        line.insert("severity".to_owned(), severity.into());
        line.insert("time".to_owned(), jiff::Timestamp::now().to_string().into());
        for (field, name) in [("trace", "logging.googleapis.com/trace"), ("span_id", "logging.googleapis.com/spanId")] {
            if let Some(value) = line.remove(field) {
                line.insert(name.to_owned(), value);
            }
        }
        // JSON escapes the controls of ASCII by itself, except one.
        for c in Value::Object(line).to_string().chars() {
            if must_escape(c) { write!(writer, "\\u{:04x}", u32::from(c))? } else { writer.write_char(c)? }
        }
        writeln!(writer)
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), value.into());
    }
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}").into());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, event: impl FnOnce()) -> String {
        let memory = Memory::default();
        let writer = memory.clone();
        let dispatch = dispatch(format, EnvFilter::new("info"), move || writer.clone());
        tracing::dispatcher::with_default(&dispatch, event);
        let bytes = memory.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    const EVIL: &str = "x\n2026 ERROR forged\r\u{1b}[31m\"}\u{85}\u{9b}31m\u{7f}\u{202e}\u{2028}";

    #[test]
    fn nothing_from_outside_makes_a_line_of_its_own() {
        for format in [LogFormat::Text, LogFormat::Json] {
            let text = logged(format, || {
                tracing::warn!(message_id = EVIL, error = %EVIL, debug = ?EVIL, "message");
                tracing::warn!("{EVIL}");
            });
            assert_eq!(text.lines().count(), 2, "{text}");
            assert!(!text.contains(|c| c != '\n' && must_escape(c)), "{text:?}");
        }
    }

    #[test]
    fn cloud_logging_finds_severity_time_and_trace() {
        let text = logged(LogFormat::Json, || {
            let trace = "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736";
            tracing::warn!(message_id = EVIL, ms = 1.5, trace, span_id = "00f067aa0ba902b7", "message");
            tracing::info!(trace = None::<&str>, "next");
            tracing::debug!("not shown");
        });
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["severity"], "WARNING");
        assert_eq!(lines[0]["message"], "message");
        assert_eq!((&lines[0]["message_id"], &lines[0]["ms"]), (&EVIL.into(), &1.5.into()));
        assert!(lines[0]["time"].as_str().unwrap().parse::<jiff::Timestamp>().is_ok());
        let trace = "projects/p/traces/4bf92f3577b34da6a3ce929d0e0e4736";
        assert_eq!(lines[0]["logging.googleapis.com/trace"], trace);
        assert_eq!(lines[0]["logging.googleapis.com/spanId"], "00f067aa0ba902b7");
        assert!(lines[0].get("trace").is_none() && lines[1].get("logging.googleapis.com/trace").is_none());
    }
}
