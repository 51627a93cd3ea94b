//! Messages that kill whoever works on them.

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Bus, Function};

use super::scene::{Names, Scene, Way};

const MESSAGES: usize = 1000;
const POISON: usize = 500;

#[tokio::test]
async fn a_message_that_aborts_its_process_is_a_dead_letter_and_all_others_are_results() {
    poison("abort", |scene| scene.command()).await;
}

#[tokio::test]
async fn a_message_that_takes_more_memory_than_there_is_is_a_dead_letter_and_all_others_are_results() {
    poison("allocate 8589934592", |scene| limited("-v 4194304", scene.command())).await; // of 4 GiB
}

#[tokio::test]
#[ignore = "needs TASK_TIMEOUT_MS, and a /health/live that says when too many tasks hang"]
async fn a_message_that_hangs_is_a_dead_letter_and_all_others_are_results() {
    poison("hang", |scene| {
        let mut command = scene.command();
        command.env("TASK_TIMEOUT_MS", "200");
        command
    })
    .await;
}

async fn poison(order: &str, command: impl Fn(&Scene<'_>) -> Command) {
    let scene = Names::new(Way::Push, 5).create(Bus::shared()).await;
    scene.publish(0..MESSAGES, |n| if n == POISON { order.to_owned() } else { "echo".to_owned() }).await;
    let mut crashes = 0;
    // As Cloud Run does: a process that has ended, or is not live, is followed by another one.
    let function = loop {
        if let Ok(mut function) = Function::spawn(command(&scene)).await {
            while function.is_live().await && scene.backlog() > 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            if scene.backlog() == 0 && function.is_live().await {
                break function;
            }
        }
        crashes += 1;
        assert!(crashes < 50, "{} messages are left after 50 crashes", scene.backlog());
    };
    let counts = scene.finish(function).await;
    let again = counts.add_up(0..MESSAGES);
    counts.one_for_each_delivery();
    let dead: Vec<&String> = counts.dead.keys().collect();
    println!(
        "{MESSAGES} messages, `{order}`: {crashes} processes ended, {} results, {again} again, dead letters {dead:?}",
        counts.results.len()
    );
    assert_eq!(dead, [&POISON.to_string()]);
    assert_eq!(counts.dead[&POISON.to_string()][0].attribute("CloudPubSubDeadLetterSourceDeliveryCount"), "5");
}

/// The same command under a limit of the shell's `ulimit`.
pub(super) fn limited(limit: &str, command: Command) -> Command {
    let mut limited = Command::new("sh");
    limited.args(["-c", &format!("ulimit {limit} && exec \"$0\"")]).arg(command.get_program());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => limited.env(name, value),
            None => limited.env_remove(name),
        };
    }
    limited.stdin(Stdio::null()).stderr(Stdio::null());
    limited
}
