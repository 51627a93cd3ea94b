//! A task that panics, or returns the wrong number of outcomes.

use std::collections::BTreeSet;

use tests::Bus;

use super::scene::{SceneSettings, Transport};

const MESSAGES: usize = 1000;

#[tokio::test]
async fn messages_that_make_the_task_panic_cost_no_other_message_anything() {
    bad("panic").await;
}

#[tokio::test]
async fn messages_that_the_task_has_no_outcome_for_cost_no_other_message_anything() {
    bad("forget").await;
}

/// One message in a hundred orders `word` and is dead-lettered after five attempts; the same process does all others.
async fn bad(word: &str) {
    let scene = SceneSettings::new(Transport::Push, 5).create(Bus::shared()).await;
    let mut function = scene.start().await;
    let is_bad = |n: usize| n % 100 == 50;
    scene.publish(0..MESSAGES, |n| if is_bad(n) { word.to_owned() } else { "echo".to_owned() }).await;
    scene.settled().await;
    assert!(function.ended().is_none());
    let counts = scene.finish(function).await;
    let again = counts.add_up(0..MESSAGES);
    let dead: BTreeSet<usize> = counts.dead.keys().map(|key| key.parse().unwrap()).collect();
    let expected: BTreeSet<usize> = (0..MESSAGES).filter(|&n| is_bad(n)).collect();
    assert_eq!(dead, expected);
    for letter in counts.dead.values().flatten() {
        assert_eq!(letter.attribute("CloudPubSubDeadLetterSourceDeliveryCount"), "5");
    }
    assert_eq!(again, 0);
    println!(
        "{MESSAGES} messages, `{word}` in {}: {} results, {} dead letters",
        dead.len(),
        counts.results.len(),
        dead.len()
    );
}
