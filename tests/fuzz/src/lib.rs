//! Inputs for fuzz targets: real ones, damaged.
//!
//! A target is a unit test beside what it fuzzes, in a module `fuzzed`, that says what holds for every input. It is
//! run in two ways:
//!
//! - by `cargo test`, for [`BRIEFLY`], on random damage;
//! - by `.ci/fuzz SECONDS [TARGET…]`, for as long as is said, each target of the workspace in turn: [`bolero`] hands
//!   it to libFuzzer, which keeps the damage that reaches code not reached before and goes on from there. It needs no
//!   nightly compiler, builds into `target/fuzz`, and prints the executions of each target.
//!
//! An input that fails is printed, shrunk. It becomes an ordinary test of what was mended.
//!
//! What is damaged is the target's own list of seeds, so that most inputs are nearly right and get far. One in a few
//! starts from nothing.

use std::time::Duration;

use bolero::produce;
pub use bolero::{TypeGenerator, check};

/// How long `cargo test` gives a target.
pub const BRIEFLY: Duration = Duration::from_millis(1500);
/// The most inputs that `cargo test` gives a target.
pub const INPUTS: usize = 50_000;

/// One of the seeds, and what happens to it.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Damaged {
    seed: u8,
    hits: Hits,
}

/// What happens to some bytes, in this order.
#[derive(Clone, Debug, TypeGenerator)]
pub struct Hits(#[generator(produce::<Vec<Hit>>().with().len(0_usize..=6))] Vec<Hit>);

/// One change. Places and lengths wrap, so that they suit bytes of every length.
#[derive(Clone, Debug, TypeGenerator)]
enum Hit {
    Flip(u16, u8),
    Cut(u16, u8),
    Insert(u16, #[generator(produce::<Vec<u8>>().with().len(0_usize..=12))] Vec<u8>),
    /// A token of the format.
    Token(u16, u8),
    /// As often as the last number says, up to a few times or up to a thousand times.
    Repeat(u16, u8, u8),
    /// A piece of another seed.
    Graft(u16, u8, u16, u8),
    Truncate(u16),
}

impl Damaged {
    /// The seed with its damage. `tokens` are what the format is made of.
    pub fn bytes<S: AsRef<[u8]>>(&self, seeds: &[S], tokens: &[&str]) -> Vec<u8> {
        // One more than there are: the empty seed.
        let chosen = seeds.get(usize::from(self.seed) % (seeds.len() + 1)).map(AsRef::as_ref);
        let mut bytes = chosen.unwrap_or_default().to_vec();
        self.hits.apply(&mut bytes, seeds, tokens);
        bytes
    }

    /// [`bytes`](Self::bytes) as text; what is no UTF-8 is replaced.
    pub fn text<S: AsRef<[u8]>>(&self, seeds: &[S], tokens: &[&str]) -> String {
        String::from_utf8_lossy(&self.bytes(seeds, tokens)).into_owned()
    }
}

impl Hits {
    /// Changes the bytes.
    pub fn apply<S: AsRef<[u8]>>(&self, bytes: &mut Vec<u8>, seeds: &[S], tokens: &[&str]) {
        for hit in &self.0 {
            hit.apply(bytes, seeds, tokens);
        }
    }
}

fn pick<T>(list: &[T], place: impl Into<usize>) -> Option<&T> {
    list.get(place.into().checked_rem(list.len())?)
}

/// A part of this many bytes from here on, or to the end.
fn part(bytes: &[u8], start: u16, length: u8) -> std::ops::Range<usize> {
    let start = usize::from(start) % (bytes.len() + 1);
    start..bytes.len().min(start + usize::from(length))
}

impl Hit {
    fn apply<S: AsRef<[u8]>>(&self, bytes: &mut Vec<u8>, seeds: &[S], tokens: &[&str]) {
        let mut insert = |at: u16, more: &[u8]| {
            let at = part(bytes, at, 0);
            bytes.splice(at, more.iter().copied());
        };
        match *self {
            Self::Insert(at, ref more) => insert(at, more),
            Self::Token(at, token) => insert(at, pick(tokens, token).map(|token| token.as_bytes()).unwrap_or_default()),
            Self::Graft(at, seed, from, length) => {
                let seed = pick(seeds, seed).map(AsRef::as_ref).unwrap_or_default();
                insert(at, &seed[part(seed, from, length)]);
            }
            Self::Flip(at, bits) => {
                let range = part(bytes, at, 1);
                bytes[range].iter_mut().for_each(|byte| *byte ^= bits);
            }
            Self::Cut(at, length) => drop(bytes.drain(part(bytes, at, length))),
            Self::Repeat(at, length, times) => {
                let range = part(bytes, at, length);
                let times = if times < 240 { usize::from(times % 4) } else { 1000 };
                let repeated = bytes[range.clone()].repeat(times.min(100_000 / range.len().max(1)));
                bytes.splice(range.end..range.end, repeated);
            }
            Self::Truncate(length) => bytes.truncate(part(bytes, length, 0).start),
        }
    }
}

/// Tokens of JSON that parsers trip over.
pub const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    "\"",
    ",",
    ":",
    "null",
    "true",
    "\\",
    "\\u00",
    "\\ud83d",
    "\\u0000",
    "1e999",
    "-",
    "0.5",
    "18446744073709551616",
    "-9223372036854775809",
    "\u{feff}",
    "\u{202e}",
    "\u{1}",
    "\u{1b}[31m",
    "\n",
];
