//! One line a result: a CloudEvent in structured mode.

use std::io::Write;

use serde::Serialize;
use serde_json::value::RawValue;

use super::error::SinkError;
use super::result::TaskResult;

#[derive(Serialize)]
struct Line<'a> {
    specversion: &'a str,
    id: &'a str,
    source: String,
    #[serde(rename = "type")]
    kind: String,
    time: &'a str,
    datacontenttype: &'a str,
    sourcemessageid: &'a str,
    data: &'a RawValue,
}

/// Writes the line whole: lines of concurrent results do not mix.
pub(super) async fn write(result: &TaskResult<'_>) -> Result<(), SinkError> {
    let passing = |detail| SinkError::Passing { destination: "stdout".into(), detail };
    let line = line(result).map_err(|error| SinkError::Permanent {
        destination: "stdout".into(),
        reason: "result-refused",
        detail: format!("the result is not JSON: {error}"),
    })?;
    // Blocks when a pipe is full.
    let written = tokio::task::spawn_blocking(move || {
        let mut out = std::io::stdout().lock();
        out.write_all(&line)?;
        out.flush()
    });
    match written.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(passing(error.to_string())),
        Err(error) => Err(passing(error.to_string())),
    }
}

fn line(result: &TaskResult<'_>) -> Result<Vec<u8>, serde_json::Error> {
    // A line break inside the JSON text would end the line early; there it is only white space between values.
    let compact;
    let body = if result.body.iter().any(|&b| b == b'\n' || b == b'\r') {
        compact = serde_json::to_vec(&serde_json::from_slice::<serde_json::Value>(&result.body)?)?;
        compact.as_slice()
    } else {
        &result.body
    };
    let mut line = serde_json::to_vec(&Line {
        specversion: "1.0",
        id: &result.key,
        source: result.source(),
        kind: result.kind(),
        time: &result.time,
        datacontenttype: "application/json",
        sourcemessageid: &result.input.id,
        data: serde_json::from_slice(body)?,
    })?;
    line.push(b'\n');
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Message;

    #[test]
    fn one_line_whatever_the_result_holds() {
        let input = Message { id: "17".into(), source: "//s".into(), ..Message::default() };
        for body in ["{\"a\":[1.50,\"x\\n\"]}", "{\n  \"a\": [1.5, \"x\\n\"]\r\n}\n"] {
            let result = TaskResult::new("embed", "service", &input, body.into());
            let line = line(&result).unwrap();
            assert_eq!(line.iter().filter(|&&b| b == b'\n' || b == b'\r').count(), 1);
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            assert_eq!(value["id"], "//s/17");
            assert_eq!(value["type"], "ai.workloads.embed.completed.v1");
            assert_eq!(value["data"], serde_json::json!({"a": [1.5, "x\n"]}));
        }
        let result = TaskResult::new("embed", "service", &input, "{".into());
        assert!(line(&result).is_err());
    }
}
