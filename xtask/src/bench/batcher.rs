//! What batching gains for a task with a high cost per batch and a low one per message: `function/benches/servers.rs`.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::load::{self, Load};
use super::measure::{median, progress};
use super::report::{BenchReport, Ratio, number, table};
use super::server::{Server, build};
use super::workload::{Random, messages, texts};
use crate::flags::bench::{Bench, Form, Length};

const ROUND_TIME: Duration = Duration::from_secs(2);

pub(super) fn run(common: &Bench) -> Result<BenchReport> {
    let program = build(["--bench", "servers"])?;
    let texts = texts(256, Length::Fixed(16), &mut Random::new(6));
    let messages = &messages(&texts, Form::Wrapped, 1);
    // A message of that task costs one token, so this is a batch for every message.
    let alone = Server::start(&program, &[("BENCH_SERVER", "call"), ("MAX_BATCH_TOKENS", "1")])?;
    let batched = Server::start(&program, &[("BENCH_SERVER", "call")])?;
    let measure = |server: &Server, connections| -> Result<_> {
        let answers = load::run(&Load {
            url: &server.url,
            headers: &[],
            messages,
            connections,
            rate: None,
            duration: ROUND_TIME,
        })?;
        ensure!(answers.events > 0, "the benchmark's task answered nothing: {:?}", answers.outcomes);
        Ok((answers.rate(), answers.done.percentile(50.0)))
    };
    let (mut rounds, mut lone) = (Vec::new(), Vec::new());
    for round in 1..=common.rounds {
        progress(format_args!("batcher: round {round} of {}", common.rounds));
        rounds.push((measure(&alone, 64)?, measure(&batched, 64)?));
        lone.push(measure(&batched, 1)?);
    }
    let gain = median(rounds.iter().map(|(alone, batched)| batched.0 / alone.0));
    #[expect(clippy::type_complexity, reason = "two pairs, named where they are used")]
    let middle = |pick: fn(&((f64, f64), (f64, f64))) -> f64| median(rounds.iter().map(pick));
    let rows = [
        ["a task of 2 ms a call and 20 µs a message", "messages/s", "p50"].map(str::to_owned),
        [
            "64 clients, each message a batch".to_owned(),
            number(middle(|r| r.0.0)),
            format!("{:.2} ms", middle(|r| r.0.1)),
        ],
        [
            "64 clients, batches as they come".to_owned(),
            number(middle(|r| r.1.0)),
            format!("{:.2} ms", middle(|r| r.1.1)),
        ],
        [
            "1 client".to_owned(),
            number(median(lone.iter().map(|l| l.0))),
            format!("{:.2} ms", median(lone.iter().map(|l| l.1))),
        ],
    ];
    let mut text = table(&rows.map(Vec::from));
    text += &format!("batching gains {gain:.2} ×\n");
    let json = json!({"gain": gain, "alone_per_second": middle(|r| r.0.0), "batched_per_second": middle(|r| r.1.0),
        "alone_p50_ms": middle(|r| r.0.1), "batched_p50_ms": middle(|r| r.1.1), "lone_p50_ms": median(lone.iter().map(|l| l.1))});
    let name = "batches / single messages, 2 ms a call".to_owned();
    Ok(BenchReport::new("batcher", text, vec![Ratio { name, value: gain }], json))
}
