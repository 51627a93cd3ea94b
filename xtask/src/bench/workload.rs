//! Texts of given lengths, the same ones in every run, and messages with them.

use base64::prelude::{BASE64_STANDARD, Engine};
use bytes::Bytes;
use hyper::http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use crate::flags::bench::{Form, Length};

/// Words that the embedded model takes as one token each.
const WORDS: [&str; 64] = [
    "time",
    "person",
    "year",
    "way",
    "day",
    "thing",
    "man",
    "world",
    "life",
    "hand",
    "part",
    "child",
    "eye",
    "woman",
    "place",
    "work",
    "week",
    "case",
    "point",
    "government",
    "company",
    "number",
    "group",
    "problem",
    "fact",
    "water",
    "room",
    "mother",
    "area",
    "money",
    "story",
    "result",
    "change",
    "morning",
    "reason",
    "research",
    "girl",
    "guy",
    "moment",
    "air",
    "teacher",
    "force",
    "education",
    "foot",
    "boy",
    "age",
    "policy",
    "music",
    "market",
    "sense",
    "service",
    "message",
    "river",
    "city",
    "cloud",
    "paper",
    "letter",
    "answer",
    "question",
    "window",
    "garden",
    "summer",
    "winter",
    "bread",
];

/// Mixed lengths, in tokens, have a lognormal distribution with this median and sigma, within these bounds. The mean is
/// 36.
const MEDIAN_TOKENS: f64 = 24.0;
const SIGMA: f64 = 0.9;
const MIN_TOKENS: f64 = 4.0;
const MAX_TOKENS: f64 = 256.0;

/// SplitMix64.
#[derive(Debug)]
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// In (0, 1].
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Of the standard normal distribution, after Box and Muller.
    fn normal(&mut self) -> f64 {
        (-2.0 * self.unit().ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// `count` texts. Lengths include `[CLS]` and `[SEP]`.
pub(super) fn texts(count: usize, length: Length, random: &mut Random) -> Vec<String> {
    let mut lengths = match length {
        Length::Fixed(n) => vec![n; count],
        Length::Mixed => mixed(count, random),
    };
    for n in (1..count).rev() {
        lengths.swap(n, random.below(n + 1));
    }
    let mut text = |length| (2..length).map(|_| WORDS[random.below(WORDS.len())]).collect::<Vec<_>>().join(" ");
    lengths.into_iter().map(&mut text).collect()
}

/// Mixed lengths, ascending: every `SAMPLES`th of many sorted ones, so that a few lengths have the mean of many.
fn mixed(count: usize, random: &mut Random) -> Vec<usize> {
    const SAMPLES: usize = 101;
    let mut normals: Vec<f64> = (0..count * SAMPLES).map(|_| random.normal()).collect();
    normals.sort_by(f64::total_cmp);
    let length = |normal: &f64| (MEDIAN_TOKENS * (SIGMA * normal).exp()).clamp(MIN_TOKENS, MAX_TOKENS).round() as usize;
    normals.iter().skip(SAMPLES / 2).step_by(SAMPLES).map(length).collect()
}

/// A request: one event, or a batch of them.
#[derive(Clone, Debug)]
pub(super) struct BenchRequest {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) events: usize,
}

/// Messages with these texts, in batches of `events`.
pub(super) fn messages(texts: &[String], form: Form, events: usize) -> Vec<BenchRequest> {
    const EVENTARC: [(&str, &str); 5] = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "google.cloud.pubsub.topic.v1.messagePublished"),
        ("ce-source", "//pubsub.googleapis.com/projects/bench/topics/bench"),
        ("ce-time", "2026-01-01T00:00:00Z"),
    ];
    const BATCH: [(&str, &str); 1] = [("content-type", "application/cloudevents-batch+json")];
    let message = |headers: &[(&'static str, &'static str)], body: serde_json::Value, events| BenchRequest {
        headers: headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect(),
        body: body.to_string().into(),
        events,
    };
    let push = |(n, text): (usize, &String)| {
        json!({"message": {"messageId": n.to_string(), "publishTime": "2026-01-01T00:00:00Z", "attributes": {},
            "data": BASE64_STANDARD.encode(text)}, "subscription": "projects/bench/subscriptions/bench"})
    };
    let all = texts.iter().enumerate();
    match form {
        Form::Wrapped => all.map(|numbered| message(&EVENTARC[..1], push(numbered), 1)).collect(),
        Form::Binary => {
            let own = |numbered: (usize, &String)| {
                let mut message = message(&EVENTARC, push(numbered), 1);
                message.headers.insert("ce-id", HeaderValue::from(numbered.0));
                message
            };
            all.map(own).collect()
        }
        Form::Batch => {
            let event = |(n, text): &(usize, &String)| json!({"specversion": "1.0", "id": n.to_string(), "source": "//bench", "type": "bench.text", "data": text});
            let all: Vec<_> = all.collect();
            let batch = |part: &[(usize, &String)]| message(&BATCH, part.iter().map(event).collect(), part.len());
            all.chunks(events).map(batch).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use encoder::Encoder;

    use super::*;

    #[test]
    fn texts_have_the_lengths_that_are_asked_for() {
        let encoder = Encoder::embedded().unwrap();
        let lengths = |length, count| -> Vec<usize> {
            let texts = texts(count, length, &mut Random::new(1));
            texts.iter().map(|text| encoder.tokenize(text).len()).collect()
        };
        assert!(lengths(Length::Fixed(16), 64).iter().all(|n| *n == 16));
        let mut mixed = lengths(Length::Mixed, 1000);
        assert_ne!(mixed[..8], lengths(Length::Mixed, 1001)[..8]);
        let mean = mixed.iter().sum::<usize>() as f64 / 1000.0;
        mixed.sort_unstable();
        assert!((35.0..38.0).contains(&mean) && (23..=25).contains(&mixed[500]), "{mean}, {}", mixed[500]);
        assert_eq!((mixed[0], mixed[999]), (4, 256));
    }
}
