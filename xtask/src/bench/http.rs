//! Load on a running function; or on one that is started here, and compared with the encoder alone.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use encoder::Encoder;
use serde_json::{Value, json};

use super::load::{self, Answers, Load};
use super::measure::{median, progress};
use super::report::{BenchReport, Ratio, number, table};
use super::server::{Server, build, cpu_seconds};
use super::workload::{BenchRequest, Random, messages, texts};
use crate::flags::bench::{Bench, Form, Http, Length};

/// How many different texts are sent.
const TEXTS: usize = 1024;
/// Connections of a closed loop.
const CONCURRENCY: usize = 64;
/// Connections of an open loop, at most.
const OPEN_LOOP_CONCURRENCY: usize = 512;
/// How often the start is measured.
const STARTS: usize = 11;
/// The function's own default of `MAX_BATCH_TOKENS`.
const BATCH_TOKENS: usize = 4096;

/// Prices in dollars of a vCPU-second, a GiB-second of memory and a million requests: request-based billing in a tier 1
/// region, <https://cloud.google.com/run/pricing> as of 2025, without free tiers.
const VCPU_SECOND_DOLLARS: f64 = 0.000_024;
const GIB_SECOND_DOLLARS: f64 = 0.000_002_5;
const MILLION_REQUESTS_DOLLARS: f64 = 0.40;
/// Memory of the shipped topology's service.
const MEMORY_GIB: f64 = 0.5;

pub(super) fn run(flags: &Http, common: &Bench) -> Result<BenchReport> {
    match &flags.url {
        Some(url) => running(url, flags),
        None => started(flags, common),
    }
}

fn sample(flags: &Http, length: Length) -> Vec<BenchRequest> {
    let texts = texts(TEXTS, length, &mut Random::new(2));
    messages(&texts, flags.form, flags.events.into())
}

fn load<'a>(url: &'a str, flags: &'a Http, messages: &'a [BenchRequest]) -> Load<'a> {
    let connections =
        flags.concurrency.map_or(if flags.rate.is_some() { OPEN_LOOP_CONCURRENCY } else { CONCURRENCY }, usize::from);
    Load { url, headers: &flags.header, messages, connections, rate: flags.rate, duration: flags.duration }
}

/// Load on a function that runs already.
fn running(url: &str, flags: &Http) -> Result<BenchReport> {
    progress(format_args!("{url}: load for {:?}", flags.duration));
    let messages = sample(flags, flags.tokens);
    let load = load(url, flags, &messages);
    let answers = load::run(&load)?;
    let mut text = describe(&load, flags);
    text += &found(&answers);
    ensure!(answers.events > 0, "nothing was answered with 2xx by {url}: {:?}", answers.outcomes);
    Ok(BenchReport::new(
        "http",
        text,
        Vec::new(),
        json!({"url": url, "load": settings(&load, flags), "answers": answers.json()}),
    ))
}

/// Load on `main`, built in the release profile and started here.
fn started(flags: &Http, common: &Bench) -> Result<BenchReport> {
    let program = build(["--bin", "main"])?;
    let size = std::fs::metadata(&program).with_context(|| format!("reading {}", program.display()))?.len();
    progress(format_args!("starting it {STARTS} times"));
    let starts = (0..STARTS).map(|_| start(&program)).collect::<Result<Vec<_>>>()?;
    let start = median(starts.iter().copied());

    let server = Server::start(&program, &[])?;
    let encoder = Encoder::embedded()?.with_threads(std::thread::available_parallelism().map_or(1, usize::from));
    let sequences: Vec<Vec<u32>> =
        texts(TEXTS, flags.tokens, &mut Random::new(2)).iter().map(|text| encoder.tokenize(text)).collect();
    let messages = sample(flags, flags.tokens);
    let mut load = load(&server.url, flags, &messages);
    let duration = (flags.duration / u32::from(common.rounds)).max(Duration::from_millis(500));
    load.duration = duration;
    load::run(&load)?; // warms both sides
    let memory_before = server.usage().memory;
    let (mut all, mut rounds) = (Answers::default(), Vec::new());
    for round in 1..=common.rounds {
        progress(format_args!("http: round {round} of {}", common.rounds));
        let bare = bare(&encoder, &sequences, duration);
        let before = server.usage().cpu;
        let answers = load::run(&load)?;
        let done = answers.events.max(1) as f64;
        rounds.push(Round { bare, rate: answers.rate(), cpu: (server.usage().cpu - before) / done });
        all.add(&answers);
        all.seconds += answers.seconds;
    }
    if all.events == 0 {
        bail!("nothing was answered with 2xx: {:?}", all.outcomes);
    }
    let short = short_texts(&server, flags, duration)?;
    let memory = server.usage().memory.max(memory_before);

    let share = median(rounds.iter().map(|round| round.rate / round.bare.rate));
    let cpu_share = median(rounds.iter().map(|round| round.bare.cpu / round.cpu));
    let mut text = describe(&load, flags);
    text += &found(&all);
    text.push('\n');
    let mega = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
    text += &table(&[
        vec!["of main".to_owned(), String::new()],
        vec!["start to the first embedding answered, median of 11".to_owned(), format!("{start:.1} ms")],
        vec!["binary, model included".to_owned(), mega(size)],
        vec!["most memory resident".to_owned(), mega(memory)],
        vec!["bare encoder on the same texts, texts/s".to_owned(), number(median(rounds.iter().map(|r| r.bare.rate)))],
        vec!["service / bare encoder, by time (the load takes CPU too)".to_owned(), format!("{share:.2}")],
        vec!["service / bare encoder, by the CPU-seconds of each".to_owned(), format!("{cpu_share:.2}")],
        vec!["a million 16-token texts, CPU-seconds".to_owned(), number(short.cpu)],
        vec!["… on Cloud Run, CPU and memory".to_owned(), format!("${:.4}", short.dollars)],
        vec!["… and its requests, one text each".to_owned(), format!("${:.4}", short.requests)],
    ]);
    let _ = writeln!(
        text,
        "Cloud Run, request-based billing, tier 1, 2025, an instance that is never idle: ${VCPU_SECOND_DOLLARS} a vCPU-second, ${GIB_SECOND_DOLLARS} a GiB-second of {MEMORY_GIB} GiB, \
         ${MILLION_REQUESTS_DOLLARS} a million requests"
    );
    let json = json!({"load": settings(&load, flags), "answers": all.json(),
        "rounds": rounds.iter().map(Round::json).collect::<Vec<_>>(),
        "share_of_bare_encoder": share, "share_of_bare_encoder_by_cpu": cpu_share,
        "start_ms": {"median": start, "all": starts}, "binary_bytes": size, "memory_bytes": memory,
        "million_short_texts": {"tokens": SHORT_TEXT_TOKENS, "cpu_seconds": short.cpu, "cpu_and_memory_dollars": short.dollars,
            "request_dollars": short.requests}});
    let name = "service over HTTP / bare encoder".to_owned();
    Ok(BenchReport::new("http", text, vec![Ratio { name, value: share }], json))
}

/// One round: texts a second and CPU-seconds per text, of the encoder alone and of the service.
struct Round {
    bare: Bare,
    rate: f64,
    cpu: f64,
}

struct Bare {
    rate: f64,
    cpu: f64,
}

impl Round {
    fn json(&self) -> Value {
        json!({"events_per_second": self.rate, "cpu_seconds_per_event": self.cpu,
            "bare_texts_per_second": self.bare.rate, "bare_cpu_seconds_per_text": self.bare.cpu})
    }
}

/// Runs the encoder alone, in this process, on batches as large as the function's.
fn bare(encoder: &Encoder, sequences: &[Vec<u32>], duration: Duration) -> Bare {
    let mut batches: Vec<&[Vec<u32>]> = Vec::new();
    let mut rest = sequences;
    while !rest.is_empty() {
        let mut tokens = 0;
        let fits = |sequence: &&Vec<u32>| {
            tokens += sequence.len();
            tokens <= BATCH_TOKENS
        };
        let (batch, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
        batches.push(batch);
        rest = others;
    }
    let (start, cpu, mut done) = (Instant::now(), cpu_seconds(std::process::id()), 0);
    for batch in batches.iter().cycle() {
        encoder.embed(batch);
        done += batch.len();
        if start.elapsed() >= duration {
            break;
        }
    }
    let texts = done as f64;
    Bare { rate: texts / start.elapsed().as_secs_f64(), cpu: (cpu_seconds(std::process::id()) - cpu) / texts }
}

const SHORT_TEXT_TOKENS: usize = 16;

/// What a million short texts cost.
struct Cost {
    cpu: f64,
    dollars: f64,
    requests: f64,
}

/// Measures wrapped messages of one short text each, at the default concurrency.
fn short_texts(server: &Server, flags: &Http, duration: Duration) -> Result<Cost> {
    progress("short texts");
    let texts = texts(TEXTS, Length::Fixed(SHORT_TEXT_TOKENS), &mut Random::new(3));
    let load = Load {
        url: &server.url,
        headers: &flags.header,
        messages: &messages(&texts, Form::Wrapped, 1),
        connections: CONCURRENCY,
        rate: None,
        duration: duration.max(Duration::from_secs(2)),
    };
    let before = server.usage().cpu;
    let answers = load::run(&load)?;
    ensure!(answers.events > 0, "no short text was answered: {:?}", answers.outcomes);
    let cpu = (server.usage().cpu - before) / answers.events as f64 * 1e6;
    Ok(Cost {
        cpu,
        dollars: cpu * (VCPU_SECOND_DOLLARS + MEMORY_GIB * GIB_SECOND_DOLLARS),
        requests: MILLION_REQUESTS_DOLLARS,
    })
}

/// Milliseconds from starting the process to the last byte of its first embedding.
fn start(program: &Path) -> Result<f64> {
    let texts = texts(1, Length::Fixed(SHORT_TEXT_TOKENS), &mut Random::new(4));
    let body = &messages(&texts, Form::Wrapped, 1)[0].body;
    let mut request = format!(
        "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    )
    .into_bytes();
    request.extend_from_slice(body);
    let start = Instant::now();
    let server = Server::start(&program.to_owned(), &[])?;
    let mut stream = TcpStream::connect(server.url.trim_start_matches("http://")).context("connecting to main")?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(&request).context("writing to main")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).context("reading from main")?;
    let took = start.elapsed().as_secs_f64() * 1000.0;
    ensure!(
        answer.starts_with(b"HTTP/1.1 200"),
        "main answered {:?}",
        String::from_utf8_lossy(&answer[..answer.len().min(300)])
    );
    Ok(took)
}

fn settings(load: &Load<'_>, flags: &Http) -> Value {
    let tokens = match flags.tokens {
        Length::Mixed => json!("mixed"),
        Length::Fixed(n) => json!(n),
    };
    json!({"loop": if load.rate.is_some() { "open" } else { "closed" }, "rate": load.rate, "connections": load.connections,
        "form": format!("{:?}", flags.form).to_lowercase(), "events_per_request": load.messages[0].events, "tokens": tokens})
}

fn describe(load: &Load<'_>, flags: &Http) -> String {
    let tokens = match flags.tokens {
        Length::Mixed => "mixed lengths".to_owned(),
        Length::Fixed(n) => format!("{n} tokens"),
    };
    let pace = match load.rate {
        Some(rate) => format!("open loop, {} requests/s, at most {} in flight", number(rate), load.connections),
        None => format!("closed loop, {} clients", load.connections),
    };
    let form = format!("{:?}", flags.form).to_lowercase();
    format!(
        "{pace}; {form} messages, {} text{} each, {tokens}\n",
        load.messages[0].events,
        if load.messages[0].events == 1 { "" } else { "s" }
    )
}

/// Rate, latencies and outcomes.
fn found(answers: &Answers) -> String {
    let mut rows = vec![["", "requests", "p50", "p90", "p99", "p99.9", "max"].map(str::to_owned).to_vec()];
    for (name, histogram) in [("done", &answers.done), ("refused", &answers.refused)] {
        if histogram.total() > 0 || name == "done" {
            let mut row = vec![name.to_owned(), number(histogram.total() as f64)];
            row.extend([50.0, 90.0, 99.0, 99.9, 100.0].map(|p| format!("{:.2} ms", histogram.percentile(p))));
            rows.push(row);
        }
    }
    let mut text = table(&rows);
    let outcomes: Vec<String> =
        answers.outcomes.iter().map(|(outcome, count)| format!("{count} × {outcome}")).collect();
    let _ = writeln!(text, "{} texts/s done; {}", number(answers.rate()), outcomes.join(", "));
    text
}
