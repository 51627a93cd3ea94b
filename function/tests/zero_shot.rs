//! What zero-shot `classify` scores on a small set of texts.

use std::collections::BTreeMap;
use std::sync::Arc;

use encoder::Encoder;
use function::tasks::Classify;
use function::{Message, Outcome, Task};
use serde_json::{Value, json};

const TEXTS: &str = include_str!("data/zero_shot.tsv");

#[test]
fn labels_are_found_more_often_than_by_chance() {
    let mut sets: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    for line in TEXTS.lines().filter(|line| !line.starts_with('#')) {
        let mut fields = line.split('\t');
        let (set, label, text) = (fields.next().unwrap(), fields.next().unwrap(), fields.next().unwrap());
        sets.entry(set).or_default().push((label, text));
    }
    let task = Classify::new(Arc::new(Encoder::embedded().unwrap()), Vec::new());
    let (mut right, mut all) = (0, 0);
    for (set, examples) in &sets {
        let mut labels: Vec<&str> = examples.iter().map(|(label, _)| *label).collect();
        labels.sort_unstable();
        labels.dedup();
        let texts: Vec<&str> = examples.iter().map(|(_, text)| *text).collect();
        let payload = json!({"input": texts, "labels": labels}).to_string();
        let work = task.accept(&Message { data: payload.into(), ..Message::default() }).unwrap();
        let outcome = task.run(&[&work.input]).remove(0);
        let Outcome::Done(body) = outcome else { panic!("{outcome:?}") };
        let body: Value = serde_json::from_slice(&body).unwrap();
        let found = body["data"].as_array().unwrap().iter().map(|entry| entry["label"].as_str().unwrap());
        let hits = found.zip(examples).filter(|(found, (label, _))| found == label).count();
        println!("{set}: {hits} of {} texts, {} labels", examples.len(), labels.len());
        (right, all) = (right + hits, all + examples.len());
    }
    println!("all: {right} of {all}");
    assert!(all > 300 && right * 100 > all * 62, "{right} of {all}");
}
