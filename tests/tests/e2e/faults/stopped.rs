//! SIGTERM in the middle of work.

use std::time::{Duration, Instant};

use tests::{Bus, Function, wrapped};

use super::scene::{SceneSettings, Transport, until};

const MESSAGES: usize = 2000;
const SLOW: usize = 300;

#[tokio::test]
async fn the_stop_signal_ends_what_was_pushed_and_nothing_is_done_twice() {
    stopped(Transport::Push).await;
}

#[tokio::test]
async fn the_stop_signal_ends_what_was_pulled_and_nothing_is_done_twice() {
    stopped(Transport::Pull).await;
}

async fn stopped(transport: Transport) {
    let scene = SceneSettings::new(transport, 100).create(Bus::shared()).await;
    let function = scene.start().await;
    // A slow message is in flight when the signal comes, so that the drain lasts long enough to be observed.
    scene.publish(0..MESSAGES, |n| if n == SLOW { "sleep 2000".to_owned() } else { "sleep 2".to_owned() }).await;
    until("the first results", || scene.results() >= SLOW - 50).await;
    let stop = Instant::now();
    function.stop();
    let late = if transport == Transport::Push { refused(&function, stop).await } else { 0 };
    assert_eq!(function.terminate().0, Some(0));
    assert!(stop.elapsed() < Duration::from_secs(10), "Cloud Run would have killed it");
    // Everything that it had done was acknowledged, and the rest was not begun.
    until("as many acknowledgements as results", || MESSAGES - scene.backlog() + late == scene.results()).await;
    let (first, left) = (scene.results() - late, scene.backlog());
    assert!(left > 0, "all was done before the signal");
    let mut counts = scene.finish(scene.start().await).await;
    assert_eq!(counts.results.remove("late").map_or(0, |results| results.len()), late);
    assert_eq!((counts.add_up(0..MESSAGES), counts.results.len()), (0, MESSAGES));
    println!(
        "{MESSAGES} messages, {transport:?}: {first} results at the end of the first process, the rest by the second"
    );
}

/// Checks that messages posted during the drain are refused, until the process ends. Returns how many were accepted
/// before it had seen the signal.
async fn refused(function: &Function, stop: Instant) -> usize {
    let (mut late, client) = (0, reqwest::Client::new());
    loop {
        let body = wrapped("echo", &[("idempotency-key", "late")]).to_string();
        let request = client.post(function.url("/")).header("content-type", "application/json").body(body);
        // The process ended before this could be posted.
        let Ok(answer) = request.send().await else { return late };
        if answer.status() == 503 {
            let problem = answer.text().await.unwrap();
            assert!(problem.contains("draining"), "{problem}");
            return late;
        }
        assert!(answer.status() == 204 && stop.elapsed() < Duration::from_secs(9), "{answer:?}");
        late += 1;
    }
}
