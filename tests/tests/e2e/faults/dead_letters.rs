//! The dead-letter topic does not exist when it is needed.

use std::time::Duration;

use tests::{Bus, unique};

use super::scene::{SceneSettings, Transport, create_late, until};

const MESSAGES: usize = 1000;
const HOPELESS: usize = 64;

#[tokio::test]
async fn hopeless_messages_wait_for_the_dead_letter_topic() {
    let bus = Bus::shared();
    let id = unique("late-dead-letters");
    let mut scene =
        SceneSettings::new(Transport::Push, 100).with("DEAD_LETTER_TOPIC", bus.topic_name(&id)).create(bus).await;
    let function = scene.start().await;
    let hopeless = |n: usize| n.is_multiple_of(15) && n < 15 * HOPELESS;
    scene.publish(0..MESSAGES, |n| if hopeless(n) { "reject".to_owned() } else { "echo".to_owned() }).await;
    until("the results", || scene.backlog() == HOPELESS).await;
    // Each of them is redelivered, more than once on average.
    while function.metric("messages_total{task=\"obey\",outcome=\"retry\"}").await.unwrap_or_default()
        < 2.0 * HOPELESS as f64
    {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!((scene.backlog(), scene.results(), scene.dead()), (HOPELESS, MESSAGES - HOPELESS, 0));
    scene.dead = create_late(bus, &id).await;
    let counts = scene.finish(function).await;
    assert_eq!((counts.add_up(0..MESSAGES), counts.dead.len()), (0, HOPELESS));
    assert!(counts.dead.values().flatten().all(|letter| letter.attribute("dead-letter-reason") == "told-to"));
    assert!(counts.dead.keys().all(|key| hopeless(key.parse().unwrap())));
    println!("{MESSAGES} messages, no dead-letter topic: {} results, {HOPELESS} dead letters", counts.results.len());
}
