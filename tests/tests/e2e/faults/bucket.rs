//! The results bucket refuses requests, limits their rate, and loses answers.

use std::collections::BTreeSet;

use tests::{Bus, Proxy, Storage, Trouble, unique};

use super::scene::{SceneSettings, Transport, until};

const MESSAGES: usize = 1000;

#[tokio::test]
async fn a_bucket_that_answers_503_and_429_and_loses_answers_for_a_while() {
    let Some(storage) = Storage::shared() else { return };
    let bucket = unique("faults");
    storage.create_bucket(&bucket).await;
    let proxy = Proxy::start(storage.host(), "/upload/");
    let settings = SceneSettings::new(Transport::Push, 100)
        .with("STORAGE_EMULATOR_HOST", proxy.host())
        .with("RESULTS", format!("gs://{bucket}/results/"));
    let scene = settings.create(Bus::shared()).await;
    let function = scene.start().await;
    scene.publish(0..MESSAGES, |_| "sleep 1".to_owned()).await;
    until("the first results", || scene.backlog() <= MESSAGES - 50).await;
    for (trouble, strikes) in [(Trouble::Refuse(503), 100), (Trouble::Refuse(429), 200), (Trouble::LoseAnswer, 250)] {
        proxy.set(trouble);
        until("trouble", || proxy.struck() >= strikes).await;
    }
    assert!(scene.backlog() > 0, "all was done before the trouble");
    proxy.set(Trouble::None);
    scene.settled().await;
    assert_eq!(function.terminate().0, Some(0));
    let objects: BTreeSet<String> = storage.list(&bucket, "").await.into_iter().collect();
    let expected: BTreeSet<String> = (0..MESSAGES).map(|n| format!("results/obey/{n}.json")).collect();
    assert_eq!(objects, expected);
    for object in &objects {
        let text = storage.read(&bucket, object).await.unwrap();
        assert!(text.starts_with(b"{\"attempt\":"), "{object}: {text:?}");
    }
    assert_eq!((scene.results(), scene.dead()), (0, 0));
    println!("{MESSAGES} messages, {} writes met with trouble: {MESSAGES} objects", proxy.struck());
}
