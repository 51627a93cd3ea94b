//! SIGKILL at random moments; another process starts at once.

use std::hash::{BuildHasher, RandomState};

use tests::Bus;

use super::scene::{SceneSettings, Transport, until};

#[tokio::test]
async fn killed_at_random_moments_while_it_is_pushed_to() {
    killed(Transport::Push, 4000, 8).await;
}

#[tokio::test]
async fn killed_at_random_moments_while_it_pulls() {
    killed(Transport::Pull, 4000, 3).await;
}

async fn killed(transport: Transport, messages: usize, kills: usize) {
    let scene = SceneSettings::new(transport, 100).create(Bus::shared()).await;
    let mut function = scene.start().await;
    scene.publish(0..messages, |_| "sleep 1".to_owned()).await;
    for _ in 0..kills {
        let random = usize::try_from(RandomState::new().hash_one(0) % 1000).unwrap();
        let next = scene.results() + 1 + random * messages / kills / 2000;
        until("more results", || scene.results() >= next).await;
        assert!(scene.backlog() > 0, "all was done before the last kill");
        drop(function); // SIGKILL
        function = scene.start().await;
    }
    let counts = scene.finish(function).await;
    let again = counts.add_up(0..messages);
    counts.one_for_each_delivery();
    assert_eq!((counts.results.len(), counts.dead.len()), (messages, 0));
    println!(
        "{messages} messages, {kills} kills, {transport:?}: {} results, {again} of them again",
        counts.results.len()
    );
}
