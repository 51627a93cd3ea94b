//! The forward pass, alone and compared with ONNX Runtime.

use std::fmt::Write;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use encoder::Encoder;
use serde_json::{Value, json};

use super::measure::{median, progress};
use super::peers::OnnxRuntime;
use super::report::{BenchReport, Ratio, machine, number, table};
use super::workload::{Random, texts};
use crate::flags::bench::{Bench, Encoder as Flags, Length};

/// Texts as batches of token sequences, which run one after the other.
struct Batching {
    name: &'static str,
    batches: Vec<Vec<Vec<u32>>>,
}

struct Workload {
    name: &'static str,
    texts: usize,
    tokens: usize,
    ours: Batching,
    /// Several, of which the quickest counts.
    theirs: Vec<Batching>,
}

/// Seconds of each round.
struct Times {
    workload: usize,
    threads: usize,
    ours: Vec<f64>,
    /// For each batching.
    theirs: Vec<Vec<f64>>,
}

const LARGE_BATCH: usize = 32;

fn workloads(encoder: &Encoder) -> Vec<Workload> {
    let mut random = Random::new(1);
    let mut sequences = |count, length| -> Vec<Vec<u32>> {
        texts(count, length, &mut random).iter().map(|text| encoder.tokenize(text)).collect()
    };
    let batches = |sequences: &[Vec<u32>], size: usize| -> Vec<Vec<Vec<u32>>> {
        sequences.chunks(size).map(<[_]>::to_vec).collect()
    };
    let mut all = Vec::new();
    for (name, count, length, size) in [
        ("16 tokens, one at a time", 128, 16, 1),
        ("16 tokens, batches of 32", 256, 16, LARGE_BATCH),
        ("64 tokens, batches of 32", 96, 64, LARGE_BATCH),
        ("256 tokens, batches of 32", 32, 256, LARGE_BATCH),
    ] {
        let sequences = sequences(count, Length::Fixed(length));
        let batching = || Batching { name: "the same", batches: batches(&sequences, size) };
        let (ours, theirs) = (batching(), vec![batching()]);
        all.push(Workload { name, texts: count, tokens: count * length, ours, theirs });
    }
    let mixed = sequences(128, Length::Mixed);
    let mut sorted = mixed.clone();
    sorted.sort_by_key(Vec::len);
    let one = Batching { name: "one at a time", batches: batches(&mixed, 1) };
    let sorted = Batching { name: "sorted by length, batches of 32", batches: batches(&sorted, LARGE_BATCH) };
    let arrival = || Batching { name: "the same", batches: batches(&mixed, LARGE_BATCH) };
    let (texts, tokens) = (mixed.len(), mixed.iter().map(Vec::len).sum());
    let together = Batching { name: "all together", batches: batches(&mixed, texts) };
    all.push(Workload { name: "mixed lengths, best way", texts, tokens, ours: together, theirs: vec![one, sorted] });
    let (ours, theirs) = (arrival(), vec![arrival()]);
    all.push(Workload { name: "mixed lengths, arrival order, batches of 32", texts, tokens, ours, theirs });
    all
}

/// Measures every workload with every number of threads, alternating between them in every round.
pub(super) fn run(flags: &Flags, common: &Bench) -> Result<BenchReport> {
    let mut threads: Vec<usize> = flags.threads.iter().map(|n| usize::from(*n)).collect();
    if threads.is_empty() {
        threads = vec![1, std::thread::available_parallelism().map_or(1, usize::from)];
    }
    threads.dedup();
    let single = Encoder::embedded()?;
    let workloads = workloads(&single);
    let mut peer = if common.peers { Some(OnnxRuntime::start()) } else { None };
    let mut cosine = None;
    if let Some(Ok(peer)) = &mut peer {
        for (n, workload) in workloads.iter().enumerate() {
            for (batching, own) in workload.theirs.iter().enumerate() {
                peer.load(&format!("{n}.{batching}"), &own.batches)?;
            }
        }
        cosine = Some(agreement(&single, &workloads, peer)?);
    }

    let encoders = threads.iter().map(|n| Ok(Encoder::embedded()?.with_threads(*n))).collect::<Result<Vec<_>>>()?;
    let mut all: Vec<Times> = Vec::new();
    for (workload, own) in workloads.iter().enumerate() {
        for threads in 0..threads.len() {
            all.push(Times { workload, threads, ours: Vec::new(), theirs: vec![Vec::new(); own.theirs.len()] });
        }
    }
    let isa = single.isa();
    let (mut peaks, mut shares) = (Vec::new(), Vec::new());
    // The first round warms caches, and does not count.
    for round in 0..=common.rounds {
        progress(format_args!("encoder: round {round} of {}", common.rounds));
        let peak = isa.peak(Duration::from_millis(100));
        let speed = single.product_speed(Duration::from_millis(300));
        if round > 0
            && let Some(peak) = peak
        {
            peaks.push(peak);
            shares.push(speed / peak);
        }
        for times in &mut all {
            let workload = &workloads[times.workload];
            let start = Instant::now();
            for batch in &workload.ours.batches {
                encoders[times.threads].embed(batch);
            }
            let ours = start.elapsed().as_secs_f64();
            if round > 0 {
                times.ours.push(ours);
            }
            if let Some(Ok(peer)) = &mut peer {
                for (batching, theirs) in times.theirs.iter_mut().enumerate() {
                    let seconds = peer.run(&format!("{}.{batching}", times.workload), threads[times.threads])?;
                    if round > 0 {
                        theirs.push(seconds);
                    }
                }
            }
        }
    }
    let peer = peer.map(|peer| peer.map(|peer| peer.description.clone()).map_err(|error| format!("{error:#}")));
    Ok(report(&threads, &workloads, &all, (median(peaks), median(shares)), peer, cosine))
}

/// The least cosine between our embeddings of the mixed texts and the peer's. A low one shows that the peer runs
/// another model.
fn agreement(encoder: &Encoder, workloads: &[Workload], peer: &mut OnnxRuntime) -> Result<f32> {
    let last = workloads.len() - 1;
    let theirs = peer.embed(&format!("{last}.0"))?;
    let ours: Vec<f32> = workloads[last].ours.batches.iter().flat_map(|batch| encoder.embed(batch)).collect();
    let pairs = ours.chunks_exact(encoder.dimensions()).zip(&theirs);
    let cosines = pairs.map(|(a, b)| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>());
    let least = cosines.fold(1.0, f32::min);
    ensure!(
        theirs.len() == workloads[last].texts && least > 0.9,
        "ONNX Runtime's embeddings are others than ours (cosine {least:.3}): its graph is wrong, and its speed says nothing"
    );
    Ok(least)
}

fn report(
    threads: &[usize],
    workloads: &[Workload],
    all: &[Times],
    (peak, share): (f64, f64),
    peer: Option<Result<String, String>>,
    cosine: Option<f32>,
) -> BenchReport {
    let beside = matches!(peer, Some(Ok(_)));
    let mut head = vec!["texts as tokens", "threads", "texts/s", "tokens/s"];
    if beside {
        head.extend(["ONNX Runtime int8, texts/s", "ratio"]);
    }
    if threads.len() > 1 {
        head.push("against first");
    }
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    let (mut json_rows, mut ratios, mut scaling) = (Vec::new(), Vec::new(), Vec::new());
    for times in all {
        let workload = &workloads[times.workload];
        let n = threads[times.threads];
        let rate = |seconds: f64| workload.texts as f64 / seconds;
        let ours = median(times.ours.iter().copied());
        let (texts, tokens) = (rate(ours), workload.tokens as f64 / ours);
        let mut row = vec![workload.name.to_owned(), n.to_string(), number(texts), number(tokens)];
        let mut json = json!({"workload": workload.name, "way": workload.ours.name, "threads": n, "texts_per_second": texts,
            "tokens_per_second": tokens, "seconds": times.ours});
        if beside {
            let best = times
                .theirs
                .iter()
                .enumerate()
                .map(|(batching, seconds)| (batching, median(seconds.iter().copied())))
                .min_by(|a, b| a.1.total_cmp(&b.1));
            let (batching, theirs) = best.unwrap_or((0, f64::NAN));
            // The ratio within each round, since whatever slows the machine down for a while slows both.
            let ratio = median(times.theirs[batching].iter().zip(&times.ours).map(|(theirs, ours)| theirs / ours));
            row.extend([number(rate(theirs)), format!("{ratio:.2}")]);
            json["onnxruntime"] = json!({"way": workload.theirs[batching].name, "texts_per_second": rate(theirs),
                "seconds": times.theirs[batching]});
            json["ratio"] = json!(ratio);
            let name = format!("{}, {n} thread{} / ONNX Runtime", workload.name, if n == 1 { "" } else { "s" });
            ratios.push(Ratio { name, value: ratio });
        }
        if threads.len() > 1 {
            let first = all.iter().find(|other| other.workload == times.workload);
            let first = first.map_or(&times.ours, |first| &first.ours);
            let gain = median(first.iter().zip(&times.ours).map(|(first, ours)| first / ours));
            row.push(format!("{gain:.2}"));
            json["against_first_threads"] = json!(gain);
            if times.threads > 0 {
                let name = format!("{}, {n} threads / {}", workload.name, threads[0]);
                scaling.push(Ratio { name, value: gain });
            }
        }
        rows.push(row);
        json_rows.push(json);
    }
    ratios.extend(scaling);
    let mut text = table(&rows);
    let machine = machine();
    let _ = writeln!(
        text,
        "{}, {} CPUs, {}: peak {} · 10⁹ int8 operations a second and core, of which the matrix products reach {:.0} %",
        machine["cpu"].as_str().unwrap_or("unknown processor"),
        machine["cpus"],
        machine["instruction_set"].as_str().unwrap_or_default(),
        number(peak),
        share * 100.0
    );
    let (peer, skipped) = match peer {
        Some(Ok(about)) => (Some(about), None),
        Some(Err(why)) => (None, Some(why)),
        None => (None, None),
    };
    if let (Some(about), Some(cosine)) = (&peer, cosine) {
        let _ = writeln!(text, "{about}; its embeddings against ours: cosine {cosine:.3} or more");
    }
    if let Some(why) = &skipped {
        let _ = writeln!(text, "ONNX Runtime was skipped: {why}");
    }
    let json: Value = json!({"workloads": json_rows, "peak_giga_operations": peak, "share_of_peak": share,
        "onnxruntime": peer, "least_cosine": cosine, "skipped": skipped});
    BenchReport::new("encoder", text, ratios, json)
}
