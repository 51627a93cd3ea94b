//! A task of your own: removes e-mail addresses and long numbers from texts before they go anywhere else.
//!
//! ```text
//! cargo run --example redact
//! curl localhost:8080 -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me' -H 'ce-type: text' \
//!   -d 'Write to ada@example.com, card 4111 1111 1111 1111'
//! ```

use std::process::ExitCode;

use function::{Function, Message, Outcome, Task, Work, payload};
use serde_json::json;

fn main() -> ExitCode {
    Function::new().task(Redact).run()
}

struct Redact;

impl Task for Redact {
    type Input = String;

    fn name(&self) -> &str {
        "redact"
    }

    fn accept(&self, message: &Message) -> Result<Work<String>, Outcome> {
        let input = payload::text(message)?.to_owned();
        Ok(Work { cost: input.len(), input })
    }

    fn run(&self, batch: &[&String]) -> Vec<Outcome> {
        batch.iter().map(|text| Outcome::Done(json!({"text": redact(text)}).to_string().into())).collect()
    }
}

/// Words with an `@` inside, and runs of eight digits or more that only blanks interrupt, become `[…]`.
fn redact(text: &str) -> String {
    let mut words = String::with_capacity(text.len());
    for word in text.split_inclusive(' ') {
        let (word, blank) = word.strip_suffix(' ').map_or((word, ""), |word| (word, " "));
        words += if is_address(word) { "[e-mail]" } else { word };
        words += blank;
    }
    let (mut out, mut rest) = (String::with_capacity(words.len()), words.as_str());
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, from) = rest.split_at(start);
        let end = from.find(|c: char| !c.is_ascii_digit() && c != ' ').unwrap_or(from.len());
        let number = from[..end].trim_end();
        let long = number.bytes().filter(u8::is_ascii_digit).count() >= 8;
        out += before;
        out += if long { "[number]" } else { number };
        rest = &from[number.len()..];
    }
    out + rest
}

fn is_address(word: &str) -> bool {
    let address = word.trim_matches(|c: char| c.is_ascii_punctuation()).split_once('@');
    address.is_some_and(|(name, host)| !name.is_empty() && host.contains('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_long_numbers_go() {
        let message = |text: &str| Message { data: text.to_owned().into(), ..Message::default() };
        let inputs: Vec<String> =
            ["Write to ada@example.com, card 4111 1111 1111 1111 now", "Room 12, 3 people @ noon"]
                .into_iter()
                .filter_map(|text| Some(Redact.accept(&message(text)).ok()?.input))
                .collect();
        let outcomes = Redact.run(&inputs.iter().collect::<Vec<_>>());
        let expected =
            [json!({"text": "Write to [e-mail] card [number] now"}), json!({"text": "Room 12, 3 people @ noon"})];
        assert_eq!(outcomes, expected.map(|json| Outcome::Done(json.to_string().into())));
    }

    #[test]
    fn bytes_that_are_no_text_are_rejected() {
        let message = Message { data: b"\xff".as_slice().into(), ..Message::default() };
        assert!(matches!(Redact.accept(&message), Err(Outcome::Rejected { reason: "bad-payload", .. })));
    }
}
