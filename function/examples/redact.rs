//! A task of one's own: takes e-mail addresses and long numbers out of texts before they go anywhere else.
//!
//! ```text
//! cargo run --example redact
//! curl localhost:8080 -H 'ce-specversion: 1.0' -H 'ce-id: 1' -H 'ce-source: /me' -H 'ce-type: text' \
//!   -d 'Write to ada@example.com, card 4111 1111 1111 1111'
//! ```

use std::process::ExitCode;

use function::{Function, Message, Outcome, Task, Work};
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
        match String::from_utf8(message.data.to_vec()) {
            Ok(input) => Ok(Work { cost: input.len(), input }),
            Err(_) => Err(Outcome::rejected("bad-payload", "the payload is not UTF-8 text")),
        }
    }

    fn run(&self, batch: &[&String]) -> Vec<Outcome> {
        batch.iter().map(|text| Outcome::Done(json!({"text": redact(text)}).to_string().into())).collect()
    }
}

/// Words with an `@` inside, and runs of eight digits or more that only blanks interrupt, become `[…]`.
fn redact(text: &str) -> String {
    let words: Vec<String> = text
        .split(' ')
        .map(|word| match word.trim_matches(|c: char| c.is_ascii_punctuation()).split_once('@') {
            Some((name, host)) if !name.is_empty() && host.contains('.') => "[e-mail]".to_owned(),
            _ => word.to_owned(),
        })
        .collect();
    let text = words.join(" ");
    let (mut out, mut number) = (String::new(), String::new());
    for c in text.chars().chain(['\0']) {
        if c.is_ascii_digit() || (c == ' ' && !number.is_empty()) {
            number.push(c);
            continue;
        }
        let digits = number.trim_end().to_owned();
        let blanks = number.split_off(digits.len());
        if digits.chars().filter(char::is_ascii_digit).count() >= 8 {
            out.push_str("[number]");
        } else {
            out.push_str(&digits);
        }
        out.push_str(&blanks);
        number.clear();
        out.push(c);
    }
    out.pop(); // the end mark
    out
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
