//! A program for tests: its task does with each message what the message says, `WORD` or `WORD NUMBER`.
//!
//! | word | does |
//! |---|---|
//! | `echo` | is done at once |
//! | `sleep` | is done after this many milliseconds |
//! | `reject` | can never succeed |
//! | `panic` | panics |
//! | `forget` | has no outcome: the batch's are one too few |
//! | `hang` | never returns |
//! | `abort` | ends the process as a crash does |
//! | `allocate` | takes this many bytes |
//!
//! The result is `{"attempt": n}`: in which delivery of the message it was made.

use std::process::ExitCode;
use std::time::Duration;

use function::{Function, Message, Outcome, Task, Work};
use serde_json::json;

fn main() -> ExitCode {
    Function::new().task(Obey).run()
}

struct Obey;

struct Order {
    word: String,
    number: u64,
    attempt: Option<u32>,
}

impl Task for Obey {
    type Input = Order;

    fn name(&self) -> &str {
        "obey"
    }

    fn accept(&self, message: &Message) -> Result<Work<Order>, Outcome> {
        let text = String::from_utf8_lossy(&message.data);
        let (word, number) = text.split_once(' ').unwrap_or((&text, "0"));
        let number = number.parse().map_err(|_| Outcome::rejected("bad-payload", "`WORD NUMBER` would be right"))?;
        if word == "reject" {
            return Err(Outcome::rejected("told-to", "the message asks for it"));
        }
        Ok(Work { input: Order { word: word.to_owned(), number, attempt: message.delivery_attempt }, cost: 1 })
    }

    fn run(&self, batch: &[&Order]) -> Vec<Outcome> {
        batch.iter().filter_map(|order| obey(order)).collect()
    }
}

fn obey(order: &Order) -> Option<Outcome> {
    match order.word.as_str() {
        "echo" => {}
        "sleep" => std::thread::sleep(Duration::from_millis(order.number)),
        "panic" => panic!("told to"),
        "forget" => return None,
        "hang" => loop {
            std::thread::park();
        },
        "abort" => std::process::abort(),
        "allocate" => {
            // Ends the process where a limit refuses it.
            let memory: Vec<u8> = Vec::with_capacity(usize::try_from(order.number).unwrap_or(usize::MAX >> 1));
            std::hint::black_box(&memory);
        }
        _ => return Some(Outcome::rejected("bad-payload", "there is no such word")),
    }
    Some(Outcome::Done(json!({"attempt": order.attempt}).to_string().into()))
}
