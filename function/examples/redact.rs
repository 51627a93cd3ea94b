//! A program with a task of its own: `redact` takes e-mail addresses and long numbers out of texts before they go on.
//!
//! Run it with `cargo run --example redact` and paste the `curl` that it prints.

use std::process::ExitCode;

use function::{Function, Message, Outcome, Task, Work};

fn main() -> ExitCode {
    // `.with_model_tasks()` would add `embed`, `classify` and `rerank` beside it.
    Function::new().task(Redact).run()
}

/// Payload: a text. Result: `{"text": "…", "redacted": n}`.
struct Redact;

impl Task for Redact {
    type Input = String;

    fn name(&self) -> &str {
        "redact"
    }

    fn accept(&self, message: &Message) -> Result<Work<String>, Outcome> {
        match std::str::from_utf8(&message.data) {
            Ok(text) => Ok(Work {
                input: text.to_owned(),
                cost: text.len(),
            }),
            Err(_) => Err(Outcome::rejected(
                "bad-payload",
                "the payload is not UTF-8 text",
            )),
        }
    }

    fn run(&self, batch: &[&String]) -> Vec<Outcome> {
        let result = |text: &&String| {
            let (text, redacted) = redact(text);
            Outcome::Done(
                serde_json::json!({ "text": text, "redacted": redacted })
                    .to_string()
                    .into(),
            )
        };
        batch.iter().map(result).collect()
    }
}

/// Replaces words with an `@` between letters, and words with eight digits or more: card, account and phone numbers.
fn redact(text: &str) -> (String, usize) {
    let mut redacted = 0;
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let address = bare
            .split_once('@')
            .is_some_and(|(_, host)| host.contains('.'));
        if address || bare.chars().filter(char::is_ascii_digit).count() >= 8 {
            redacted += 1;
            word.replace(bare, "[redacted]")
        } else {
            word.to_owned()
        }
    });
    (words.collect(), redacted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn message(data: &[u8]) -> Message {
        Message {
            data: data.to_vec().into(),
            ..Message::default()
        }
    }

    #[test]
    fn each_message_of_a_batch_has_its_own_result() {
        let texts: [&[u8]; 3] = [
            "Write to ann@example.org, or call +41-44-668-18-00!".as_bytes(),
            "nothing to hide @ 8".as_bytes(),
            b"",
        ];
        let inputs: Vec<String> = texts
            .map(|text| Redact.accept(&message(text)).unwrap().input)
            .into();
        let outcomes = Redact.run(&inputs.iter().collect::<Vec<_>>());
        let expected = [
            r#"{"redacted":2,"text":"Write to [redacted], or call +[redacted]!"}"#,
            r#"{"redacted":0,"text":"nothing to hide @ 8"}"#,
            r#"{"redacted":0,"text":""}"#,
        ];
        assert_eq!(
            outcomes,
            expected.map(|result| Outcome::Done(result.into()))
        );
    }

    #[test]
    fn what_is_not_text_is_rejected() {
        let refused = Redact.accept(&message(b"\xff"));
        assert!(matches!(
            refused,
            Err(Outcome::Rejected {
                reason: "bad-payload",
                ..
            })
        ));
    }
}
