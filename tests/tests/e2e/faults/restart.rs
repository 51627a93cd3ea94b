//! Pub/Sub is lost with all it had, and is replaced by an empty one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use pubsub::{EventKind, Limits};
use tests::{Bus, Storage, free_port, unique};
use tokio::sync::broadcast::error::RecvError;

use super::scene::{SceneSettings, Transport, until};

const MESSAGES: usize = 2000;
const AFTERWARDS: usize = 1000;

#[tokio::test]
async fn what_was_acknowledged_is_a_result_and_work_goes_on_by_itself() {
    let Some(storage) = Storage::shared() else { return };
    let bucket = unique("faults");
    storage.create_bucket(&bucket).await;
    let host = format!("127.0.0.1:{}", free_port());
    let first = Bus::start_at(&host, Limits::default());
    let settings = SceneSettings::new(Transport::Pull, 100).with("STORAGE_EMULATOR_HOST", storage.host());
    let mut scene = settings.create(&first).await;
    let results = format!("{},gs://{bucket}/", scene.variables()["RESULTS"]);
    scene.settings = scene.settings.with("RESULTS", results);
    let acknowledged = acknowledgements(&first, &scene.work);
    let function = scene.start().await;
    scene.publish(0..MESSAGES, |_| "sleep 1".to_owned()).await;
    until("acknowledgements", || acknowledged.lock().unwrap().len() >= 500).await;
    let settings = scene.settings.clone();
    drop(first); // and with it every message
    let acknowledged = acknowledged.lock().unwrap().clone();
    assert!((500..MESSAGES).contains(&acknowledged.len()), "{} were acknowledged", acknowledged.len());
    let written: BTreeSet<String> = storage.list(&bucket, "obey/").await.into_iter().collect();
    let lost: Vec<&String> = acknowledged.iter().filter(|key| !written.contains(&format!("obey/{key}.json"))).collect();
    assert!(lost.is_empty(), "acknowledged and no result: {lost:?}");

    let second = Bus::start_at(&host, Limits::default());
    let scene = settings.create(&second).await;
    scene.publish(MESSAGES..MESSAGES + AFTERWARDS, |_| "echo".to_owned()).await;
    let mut counts = scene.finish(function).await;
    // Results of messages from before, whose publisher retried until now.
    let before = |key: &String| key.parse::<usize>().unwrap() < MESSAGES;
    let late: Vec<String> = counts.results.keys().filter(|key| before(key)).cloned().collect();
    late.iter().for_each(|key| drop(counts.results.remove(key)));
    counts.add_up(MESSAGES..MESSAGES + AFTERWARDS);
    counts.one_for_each_delivery();
    println!(
        "{MESSAGES} messages, {} acknowledged at the end of the first bus, {} written: {AFTERWARDS} more done by the second",
        acknowledged.len(),
        written.len()
    );
}

/// Collects the keys of messages as they are acknowledged in a subscription.
fn acknowledgements(bus: &Bus, subscription: &str) -> Arc<Mutex<BTreeSet<String>>> {
    let keys = Arc::new(Mutex::new(BTreeSet::new()));
    let (seen, subscription) = (Arc::clone(&keys), subscription.to_owned());
    let mut events = bus.handle().events();
    std::thread::spawn(move || {
        loop {
            match events.blocking_recv() {
                Ok(event) => {
                    if matches!(&event.kind, EventKind::Acked { subscription: of } if **of == *subscription) {
                        seen.lock().unwrap().insert(event.message.attributes["idempotency-key"].clone());
                    }
                }
                // Fewer to look at.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            }
        }
    });
    keys
}
