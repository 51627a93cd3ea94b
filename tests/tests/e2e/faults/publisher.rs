//! The results topic refuses, does not exist, is slow, loses answers, or cannot be reached.

use std::time::Duration;

use tests::{Bus, Proxy, Trouble, unique};

use super::scene::{SceneSettings, Transport, create_late, until};

const MESSAGES: usize = 1000;

#[tokio::test]
async fn a_publisher_that_may_not_publish_for_a_while() {
    assert_eq!(trouble(Trouble::Refuse(403), 100).await, 0);
}

#[tokio::test]
async fn a_topic_that_is_not_available_for_a_while() {
    assert_eq!(trouble(Trouble::Refuse(503), 100).await, 0);
}

#[tokio::test]
async fn a_topic_that_is_slow_for_a_while() {
    assert_eq!(trouble(Trouble::Delay(Duration::from_millis(500)), 300).await, 0);
}

#[tokio::test]
async fn a_topic_whose_answers_are_lost_for_a_while() {
    trouble(Trouble::LoseAnswer, 100).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_for_a_while() {
    trouble(Trouble::Cut, 5).await;
}

/// Returns the number of duplicate results: there may be some of publishes that met with trouble, and no others.
async fn trouble(trouble: Trouble, strikes: usize) -> usize {
    let bus = Bus::shared();
    let proxy = Proxy::start(bus.host(), "/google.pubsub.v1.Publisher/Publish");
    let scene = SceneSettings::new(Transport::Push, 100).with("PUBSUB_EMULATOR_HOST", proxy.host()).create(bus).await;
    let function = scene.start().await;
    scene.publish(0..MESSAGES / 2, |_| "sleep 1".to_owned()).await;
    until("the first results", || scene.results() >= 100).await;
    proxy.set(trouble);
    let strikes = proxy.struck() + strikes;
    scene.publish(MESSAGES / 2..MESSAGES, |_| "sleep 1".to_owned()).await;
    until("trouble", || proxy.struck() >= strikes).await;
    proxy.set(Trouble::None);
    let counts = scene.finish(function).await;
    let again = counts.add_up(0..MESSAGES);
    assert_eq!(counts.results.len(), MESSAGES);
    // A publish request holds several results where they come quickly.
    assert!(again <= 8 * proxy.struck(), "{again} results again, {} publishes met with trouble", proxy.struck());
    println!("{MESSAGES} messages, {trouble:?} × {}: {MESSAGES} results, {again} of them again", proxy.struck());
    again
}

#[tokio::test]
async fn a_topic_that_is_made_late() {
    let bus = Bus::shared();
    let id = unique("late-results");
    let mut scene = SceneSettings::new(Transport::Push, 100).with("RESULTS", bus.topic_name(&id)).create(bus).await;
    let function = scene.start().await;
    scene.publish(0..MESSAGES, |_| "echo".to_owned()).await;
    while function.metric("messages_total{task=\"obey\",outcome=\"retry\"}").await.unwrap_or_default() < 200.0 {
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(scene.backlog(), MESSAGES);
    scene.results = create_late(bus, &id).await;
    let counts = scene.finish(function).await;
    assert_eq!((counts.add_up(0..MESSAGES), counts.results.len()), (0, MESSAGES));
    println!("{MESSAGES} messages, no topic: {MESSAGES} results, none again");
}
