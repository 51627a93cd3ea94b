//! Five times the load that the function can carry; for a minute with `OVERLOAD_SECONDS=60`.

use std::time::{Duration, Instant};

use reqwest::Client;
use tests::{Bus, wrapped};
use tokio::task::JoinSet;

use super::scene::{SceneSettings, Transport};

/// Messages that Pub/Sub pushes, besides those that are posted.
const MESSAGES: usize = 1000;
/// Each message takes 5 ms, one after the other: 200 a second.
const A_SECOND: usize = 1000;
const TICKS: usize = 100;
/// By how much the peak memory use may grow in the second half.
const GROWTH: u64 = 4 << 10;

#[tokio::test]
async fn five_times_its_capacity_is_refused_or_done_in_the_same_memory() {
    let seconds: usize = std::env::var("OVERLOAD_SECONDS").ok().map_or(6, |text| text.parse().unwrap());
    let settings =
        SceneSettings::new(Transport::Push, 100).with("MAX_BATCH_TOKENS", "4").with("MAX_QUEUE_TOKENS", "16");
    let scene = settings.create(Bus::shared()).await;
    let function = scene.start().await;
    scene.publish(0..MESSAGES, |_| "sleep 5".to_owned()).await;
    let (client, url) = (Client::builder().no_proxy().build().unwrap(), function.url("/"));
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / TICKS as u32);
    let mut posts = JoinSet::new();
    let (mut half, mut queue) = (0, 0.0_f64);
    for tick in 0..seconds * TICKS {
        ticks.tick().await;
        for n in 0..A_SECOND / TICKS {
            let key = (MESSAGES + tick * (A_SECOND / TICKS) + n).to_string();
            let body = wrapped("sleep 5", &[("idempotency-key", &key)]).to_string();
            let post = client.post(&url).header("content-type", "application/json").body(body);
            posts.spawn(async move {
                let start = Instant::now();
                let answer = post.send().await.unwrap();
                let after = answer.headers().get("retry-after").is_some();
                (key, answer.status().as_u16(), after, start.elapsed())
            });
        }
        if tick == seconds * TICKS / 2 {
            half = peak(function.id());
        }
        if tick % 20 == 0 {
            queue = queue.max(function.metric("queue_tokens").await.unwrap());
        }
    }
    let (mut done, mut refused) = (Vec::new(), 0);
    for (key, status, after, time) in posts.join_all().await {
        match status {
            204 => done.push((time, key.parse().unwrap())),
            429 if after => refused += 1,
            _ => panic!("{key} was answered with {status}, `Retry-After`: {after}"),
        }
    }
    let end = peak(function.id());
    let carried = scene.results();
    let counts = scene.finish(function).await;
    let again = counts.add_up((0..MESSAGES).chain(done.iter().map(|(_, key)| *key)));
    counts.one_for_each_delivery();
    done.sort();
    let (median, worst) = (done[done.len() / 2].0, done[done.len() - 1].0);
    println!(
        "{} posted in {seconds} s: {} done in {median:?}, at most {worst:?}, {refused} refused; {MESSAGES} pushed beside them; \
         {carried} results in that time; {} dead letters, {again} again; {} KiB at most, {half} KiB at half time",
        done.len() + refused,
        done.len(),
        counts.dead.len(),
        end
    );
    assert_eq!(again, 0);
    assert_eq!(done.len() + refused, seconds * A_SECOND);
    assert!(refused > done.len() && !done.is_empty(), "{refused} were refused");
    assert!(queue <= 16.0, "{queue} tokens waited");
    assert!(end.saturating_sub(half) <= GROWTH, "the peak of memory went from {half} to {end} KiB");
    assert!(worst < Duration::from_secs(10), "an accepted message took {worst:?}, and Pub/Sub waits 10 s at least");
}

/// The peak memory use of a process, in KiB. Linux counts it; elsewhere it is 0, so that its growth is not checked.
#[cfg(not(target_os = "linux"))]
fn peak(_id: u32) -> u64 {
    0
}

#[cfg(target_os = "linux")]
fn peak(id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
