//! The path around the model: an event is decoded, routed, run through a trivial task and answered. Compared with
//! servers that only read the body.

use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::json;

use super::load::{self, Load};
use super::measure::{median, progress};
use super::peers;
use super::report::{BenchReport, Ratio, number, table};
use super::server::{Server, build};
use super::workload::{Random, messages, texts};
use crate::flags::bench::{Bench, Form, Length};

const CONCURRENCY: usize = 64;
const ROUND_TIME: Duration = Duration::from_secs(2);

pub(super) fn run(common: &Bench) -> Result<BenchReport> {
    let texts = texts(1024, Length::Fixed(16), &mut Random::new(5));
    let messages = &messages(&texts, Form::Wrapped, 1);
    let mut servers = vec![
        ("the example task `redact`", Server::start(&build(["--example", "redact"])?, &[])?),
        ("axum, reads the body", Server::start(&build(["--bench", "servers"])?, &[("BENCH_SERVER", "bare")])?),
    ];
    let mut skipped = None;
    if common.peers {
        match peers::functions_framework() {
            Ok(server) => servers.push(("functions-framework, reads the body", server)),
            Err(why) => skipped = Some(format!("{why:#}")),
        }
    }
    // For each server and round: requests a second, and CPU-seconds of the server per request.
    let mut found = vec![Vec::new(); servers.len()];
    for round in 0..=common.rounds {
        progress(format_args!("path: round {round} of {}", common.rounds));
        for ((name, server), found) in servers.iter().zip(&mut found) {
            let load = Load {
                url: &server.url,
                headers: &[],
                messages,
                connections: CONCURRENCY,
                rate: None,
                duration: ROUND_TIME,
            };
            let before = server.usage().cpu;
            let answers = load::run(&load)?;
            ensure!(answers.events > 0, "{name} answered nothing: {:?}", answers.outcomes);
            // The first round warms up, and does not count.
            if round > 0 {
                found.push((answers.rate(), (server.usage().cpu - before) / answers.events as f64));
            }
        }
    }
    let against = |n: usize| median(found[0].iter().zip(&found[n]).map(|(own, other)| own.0 / other.0));
    let by_cpu = |n: usize| median(found[0].iter().zip(&found[n]).map(|(own, other)| other.1 / own.1));
    let head = ["closed loop, 64 clients", "requests/s", "CPU µs a request", "redact / this", "by CPU"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let (mut json_rows, mut ratios) = (Vec::new(), Vec::new());
    for (n, (name, _)) in servers.iter().enumerate() {
        let (rate, cpu) = (median(found[n].iter().map(|f| f.0)), median(found[n].iter().map(|f| f.1)));
        let mut row = vec![(*name).to_owned(), number(rate), number(cpu * 1e6)];
        if n > 0 {
            row.extend([format!("{:.2}", against(n)), format!("{:.2}", by_cpu(n))]);
            ratios.push(Ratio { name: format!("path around the model / {name}"), value: against(n) });
        }
        rows.push(row);
        json_rows.push(json!({"server": name, "requests_per_second": rate, "cpu_seconds_per_request": cpu,
            "ratio": (n > 0).then(|| against(n)), "ratio_by_cpu": (n > 0).then(|| by_cpu(n))}));
    }
    let mut text = table(&rows);
    if let Some(why) = &skipped {
        text += &format!("functions-framework was skipped: {why}\n");
    }
    Ok(BenchReport::new("path", text, ratios, json!({"servers": json_rows, "skipped": skipped})))
}
