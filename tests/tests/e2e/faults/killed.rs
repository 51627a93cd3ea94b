//! SIGKILL at random moments, and another process at once.

use std::hash::{BuildHasher, RandomState};

use tests::Bus;

use super::scene::{Names, Way, until};

#[tokio::test]
async fn killed_at_random_moments_while_it_is_pushed_to() {
    killed(Way::Push, 4000, 8).await;
}

#[tokio::test]
async fn killed_at_random_moments_while_it_pulls() {
    killed(Way::Pull, 4000, 3).await;
}

async fn killed(way: Way, messages: usize, kills: usize) {
    let scene = Names::new(way, 100).create(Bus::shared()).await;
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
    println!("{messages} messages, {kills} kills, {way:?}: {} results, {again} of them again", counts.results.len());
}
