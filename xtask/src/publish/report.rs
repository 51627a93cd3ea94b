//! Output: ids as JSON, progress on a terminal, totals.

use std::io::{StdoutLock, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct PublishReport {
    topic: String,
    /// Written to with every id, so that a million ids need no memory.
    json: Option<StdoutLock<'static>>,
    bar: ProgressBar,
    start: Instant,
    published: u64,
    claims: u64,
    last: String,
}

impl PublishReport {
    pub(super) fn start(topic: &str, json: bool, terminal: bool, total: Option<u64>) -> Result<Self> {
        let bar = match total {
            _ if !terminal => ProgressBar::hidden(),
            Some(total) => ProgressBar::new(total)
                .with_style(ProgressStyle::with_template("{bar:40} {pos}/{len} {per_sec} {eta}")?),
            None => ProgressBar::no_length().with_style(ProgressStyle::with_template("{spinner} {pos} {per_sec}")?),
        };
        bar.enable_steady_tick(Duration::from_millis(100));
        let mut json = json.then(|| std::io::stdout().lock());
        if let Some(out) = &mut json {
            write!(out, r#"{{"topic":{},"messageIds":["#, serde_json::to_string(topic)?)?;
        }
        let (start, last) = (Instant::now(), String::new());
        Ok(Self { topic: topic.to_owned(), json, bar, start, published: 0, claims: 0, last })
    }

    pub(super) fn claimed(&mut self) {
        self.claims += 1;
    }

    pub(super) fn published(&mut self, id: &str) -> Result<()> {
        if let Some(out) = &mut self.json {
            let comma = if self.published == 0 { "" } else { "," };
            write!(out, "{comma}{}", serde_json::to_string(id)?).context("writing to standard output")?;
        }
        self.published += 1;
        id.clone_into(&mut self.last);
        self.bar.inc(1);
        Ok(())
    }

    /// Prints the totals. Returns the error, if there is one, with what had been published by then.
    pub(super) fn end(mut self, result: Result<()>) -> Result<()> {
        self.bar.finish_and_clear();
        let (published, claims) = (self.published, self.claims);
        if let Some(out) = &mut self.json {
            writeln!(out, r#"],"published":{published},"claimChecks":{claims}}}"#)?;
        }
        let topic = &self.topic;
        let messages = if published == 1 { "1 message".to_owned() } else { format!("{published} messages") };
        result.with_context(|| format!("published {messages} to {topic}, and then"))?;
        if self.json.is_some() {
            return Ok(());
        }
        let seconds = self.start.elapsed().as_secs_f64();
        let checks = if claims > 0 { format!(", {claims} of them as claim checks") } else { String::new() };
        match published {
            1 => println!("published message {} to {topic}{checks}", self.last),
            _ => println!(
                "published {messages} to {topic} in {seconds:.1} s ({:.0} a second){checks}",
                published as f64 / seconds
            ),
        }
        Ok(())
    }
}
