//! Messages that end the process that works on them.

use std::process::{Command, Stdio};
use std::time::Duration;

use tests::{Bus, Function};

use super::scene::{Scene, SceneSettings, Transport};

const MESSAGES: usize = 1000;
const POISON: usize = 500;
const ATTEMPTS: u32 = 5;

#[tokio::test]
async fn a_message_that_aborts_its_process_is_a_dead_letter_and_takes_hardly_anybody_along() {
    let others = poison("abort", |scene| scene.command()).await;
    // Of about a hundred that are in flight at each crash.
    assert!(others <= 15, "{others} others are dead letters");
}

// Other systems have no limit of a process's memory.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_message_that_takes_more_memory_than_there_is_is_a_dead_letter_and_nothing_is_lost() {
    poison("allocate 8589934592", |scene| limited("-v 4194304", scene.command())).await; // of 4 GiB
}

#[tokio::test]
async fn a_message_that_hangs_is_a_dead_letter_and_nothing_is_lost() {
    poison("hang", |scene| {
        let mut command = scene.command();
        command.env("TASK_TIMEOUT_MS", "200");
        command
    })
    .await;
}

/// Publishes a poison message among others. It must be dead-lettered after its attempts and have no result. Every
/// other message must have a result or, since few attempts are allowed, may be dead-lettered if it was in flight at
/// each crash, whether its work was done or not. Returns the number of those.
async fn poison(order: &str, command: impl Fn(&Scene<'_>) -> Command) -> usize {
    let scene = SceneSettings::new(Transport::Push, ATTEMPTS).create(Bus::shared()).await;
    scene.publish(0..MESSAGES, |n| if n == POISON { order.to_owned() } else { "echo".to_owned() }).await;
    let mut ends = 0;
    // As Cloud Run does: a process that has ended, or is not live, is replaced.
    let function = loop {
        if let Ok(mut function) = Function::spawn(command(&scene)).await {
            while function.is_live().await && scene.backlog() > 0 {
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
            if scene.backlog() == 0 && function.is_live().await {
                break function;
            }
        }
        ends += 1;
        assert!(ends < 50, "{} messages are left after 50 processes", scene.backlog());
    };
    let mut counts = scene.finish(function).await;
    let again = counts.nothing_lost(0..MESSAGES);
    counts.one_for_each_delivery();
    for letter in counts.dead.values().flatten() {
        assert_eq!(letter.attribute("CloudPubSubDeadLetterSourceDeliveryCount"), ATTEMPTS.to_string());
    }
    let poison = POISON.to_string();
    assert!(!counts.results.contains_key(&poison) && counts.dead.remove(&poison).is_some());
    let both = counts.dead.keys().filter(|key| counts.results.contains_key(*key)).count();
    println!(
        "{MESSAGES} messages, `{order}`: {ends} processes ended, {} results, {again} again, and beside the poison {} dead \
         letters, {both} of them results too",
        counts.results.len(),
        counts.dead.len()
    );
    counts.dead.len()
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
