//! Servers that `cargo xtask bench` starts. `BENCH_SERVER` says which: `bare`, an axum handler that reads the body and answers;
//! `call`, a task that costs mostly by the call. Both print their address.

use std::io::Write;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use function::{Function, Message, Outcome, Task, Work};

fn main() -> std::process::ExitCode {
    match std::env::var("BENCH_SERVER").as_deref() {
        Ok("bare") => match function::runtime() {
            Ok(runtime) => runtime.block_on(bare()),
            Err(error) => eprintln!("{error}"),
        },
        Ok("call") => return Function::new().task(Call).run(),
        _ => println!("`cargo xtask bench` starts these servers"),
    }
    std::process::ExitCode::SUCCESS
}

/// On as many threads as the function has, that is to say on its runtime.
async fn bare() {
    let router = Router::new().route("/", post(|body: Bytes| async move { body.len().to_string() }));
    let Ok(listener) = tokio::net::TcpListener::bind("127.0.0.1:0").await else { return };
    if let Ok(address) = listener.local_addr() {
        let _ = writeln!(std::io::stdout(), "listening on http://{address}");
    }
    let _ = axum::serve(listener, router).await;
}

/// A call of 2 ms, as to another machine or an accelerator, and 20 µs for each message of it. Sleeps: the CPUs are for the load.
struct Call;

impl Task for Call {
    type Input = usize;

    fn name(&self) -> &str {
        "call"
    }

    fn accept(&self, message: &Message) -> Result<Work<usize>, Outcome> {
        Ok(Work { input: message.data.len(), cost: 1 })
    }

    fn run(&self, batch: &[&usize]) -> Vec<Outcome> {
        std::thread::sleep(Duration::from_micros(2000 + 20 * batch.len() as u64));
        batch.iter().map(|n| Outcome::Done(n.to_string().into())).collect()
    }
}
