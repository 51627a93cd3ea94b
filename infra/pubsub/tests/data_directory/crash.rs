//! What is there after the process was killed, or its disk was full.

use std::collections::BTreeSet;
use std::sync::mpsc;

use serde_json::json;

use crate::process::{Process, directory};
use crate::rest_api::{Received, texts};

#[test]
fn a_killed_pubsub_goes_on_with_what_was_not_acknowledged() {
    let directory = directory("goes_on");
    let process = Process::start(&directory);
    let api = process.api;
    api.topic("dead", &json!({}));
    api.topic("topic", &json!({"labels": {"a": "b"}}));
    let policy = json!({"deadLetterTopic": "projects/p/topics/dead", "maxDeliveryAttempts": 5});
    api.subscription("letters", "dead", json!({}));
    api.subscription("ordered", "topic", json!({"enableMessageOrdering": true, "filter": "NOT attributes:none"}));
    api.subscription("counted", "topic", json!({"deadLetterPolicy": policy, "ackDeadlineSeconds": 60}));
    let mut ids = BTreeSet::new();
    for number in 0..6 {
        let key = ["red", "blue"][number % 2];
        ids.insert(api.publish("topic", &format!("{key} {number}"), key));
    }
    let received = api.pull("ordered");
    assert_eq!(received.len(), 6);
    api.acknowledge("ordered", &received.iter().filter(|r| r.text == "red 0").collect::<Vec<_>>());
    // Acknowledged out of order: it is redelivered with those before it.
    api.acknowledge("ordered", &received.iter().filter(|r| r.text == "blue 3").collect::<Vec<_>>());
    let received = api.pull("counted");
    api.acknowledge("counted", &[&received[1], &received[2]]);
    api.nack("counted", &[&received[0]]);
    for attempt in [2, 3, 4] {
        let again = api.pull("counted");
        assert_eq!((again[0].text.as_str(), again[0].attempt), ("red 0", attempt));
        api.nack("counted", &[&again[0]]);
    }
    // Everything recorded before an answered publish is on disk with it.
    ids.insert(api.publish("topic", "last", ""));
    let before = (api.call("GET", "topics", &json!({})), api.call("GET", "subscriptions", &json!({})));
    drop(process);

    let process = Process::start(&directory);
    let api = process.api;
    assert_eq!((api.call("GET", "topics", &json!({})), api.call("GET", "subscriptions", &json!({}))), before);
    let of = |received: &[Received], key: &str| -> Vec<String> {
        received.iter().filter(|r| r.text.starts_with(key)).map(|r| r.text.clone()).collect()
    };
    let received = api.pull("ordered");
    assert_eq!(of(&received, "red"), ["red 2", "red 4"]);
    assert_eq!(of(&received, "blue"), ["blue 1", "blue 3", "blue 5"]);
    assert_eq!(of(&received, "last"), ["last"]);
    let counted = api.pull("counted");
    let attempts: Vec<(&str, u64)> = counted.iter().map(|r| (r.text.as_str(), r.attempt)).collect();
    assert_eq!(attempts, [("red 0", 5), ("blue 3", 1), ("red 4", 1), ("blue 5", 1), ("last", 1)]);
    assert!(counted.iter().all(|r| ids.contains(&r.id)));
    api.nack("counted", &[&counted[0]]);
    assert!(!ids.contains(&api.publish("topic", "new", "")));
    drop(process);

    let process = Process::start(&directory);
    assert_eq!(texts(&process.api.pull("letters")), ["red 0"]);
    assert_eq!(texts(&process.api.pull("counted")), ["blue 3", "red 4", "blue 5", "last", "new"]);
}

#[test]
fn a_kill_in_the_middle_loses_nothing_that_was_answered() {
    let directory = directory("middle");
    let mut published = BTreeSet::new();
    for round in 0..3 {
        let process = Process::start(&directory);
        let api = process.api;
        if round == 0 {
            api.topic("topic", &json!({}));
            api.subscription("all", "topic", json!({"ackDeadlineSeconds": 600}));
        }
        let (answered, answers) = mpsc::channel();
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let answered = answered.clone();
                scope.spawn(move || {
                    for number in 0.. {
                        let text = format!("{round} {thread} {number}");
                        let body = json!({"messages": [{"attributes": {"text": text}}]});
                        let Some((200, answer)) = api.try_call("POST", "topics/topic:publish", &body) else { return };
                        answered.send((answer["messageIds"][0].as_str().unwrap().to_owned(), text)).unwrap();
                    }
                });
            }
            for (id, text) in answers.iter().take(100) {
                assert!(published.insert((id, text)));
            }
            drop(process);
        });
        drop(answered);
        published.extend(answers);
    }
    let process = Process::start(&directory);
    let received = process.api.pull("all");
    let ids: BTreeSet<&str> = received.iter().map(|r| r.id.as_str()).collect();
    assert_eq!(ids.len(), received.len(), "an id was given out twice");
    let received: BTreeSet<(String, String)> = received.iter().map(|r| (r.id.clone(), r.text.clone())).collect();
    assert_eq!(published.difference(&received).next(), None);
}

#[test]
fn a_full_disk_refuses_publishes_and_keeps_what_was_answered() {
    let directory = directory("full");
    let process = Process::start_with_little_room(&directory, 16_384);
    let api = process.api;
    api.topic("topic", &json!({}));
    api.subscription("all", "topic", json!({"ackDeadlineSeconds": 600}));
    let data = "x".repeat(1 << 20);
    let publish = |number: usize| {
        let message = json!({"data": data, "attributes": {"text": number.to_string()}});
        api.try_call("POST", "topics/topic:publish", &json!({"messages": [message]})).unwrap()
    };
    let mut answered = 0;
    let error = loop {
        match publish(answered) {
            (200, _) => answered += 1,
            (status, answer) => break (status, answer["error"].clone()),
        }
    };
    assert!(answered > 0);
    assert_eq!((error.0, &error.1["status"]), (400, &json!("FAILED_PRECONDITION")));
    let (_, again) = publish(answered);
    for error in [&error.1, &again["error"]] {
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("cannot write") && message.contains("pubsub.redb"), "{message}");
    }
    drop(process);
    let process = Process::start(&directory);
    let received = process.api.pull("all");
    let numbers: Vec<String> = (0..answered).map(|number| number.to_string()).collect();
    assert_eq!(texts(&received)[..answered], numbers);
    process.api.publish("topic", "more", "");
}

#[test]
fn acknowledgements_are_kept_and_ids_of_before_are_not_those_of_after() {
    let directory = directory("exactly_once");
    let process = Process::start(&directory);
    let api = process.api;
    api.topic("topic", &json!({}));
    api.subscription("once", "topic", json!({"enableExactlyOnceDelivery": true}));
    api.publish("topic", "open", "");
    api.publish("topic", "done", "");
    let before = api.pull("once");
    api.acknowledge("once", &[&before[1]]);
    drop(process);

    let process = Process::start(&directory);
    let api = process.api;
    let after = api.pull("once");
    assert_eq!(texts(&after), ["open"]);
    let old = json!({"ackIds": [before[0].ack_id]});
    let (status, answer) = api.try_call("POST", "subscriptions/once:acknowledge", &old).unwrap();
    assert_eq!((status, &answer["error"]["status"]), (400, &json!("FAILED_PRECONDITION")));
    api.acknowledge("once", &[&after[0]]);
}

#[test]
fn a_killed_pubsub_still_has_its_snapshots_and_policies() {
    let directory = directory("snapshots");
    let process = Process::start(&directory);
    let api = process.api;
    api.topic("topic", &json!({}));
    api.subscription("all", "topic", json!({"ackDeadlineSeconds": 600}));
    api.publish("topic", "acknowledged", "");
    api.acknowledge("all", &api.pull("all").iter().collect::<Vec<_>>());
    api.publish("topic", "open", "");
    for id in ["kept", "deleted"] {
        api.call("PUT", &format!("snapshots/{id}"), &json!({"subscription": "projects/p/subscriptions/all"}));
    }
    api.publish("topic", "later", "");
    api.acknowledge("all", &api.pull("all").iter().collect::<Vec<_>>());
    api.call("DELETE", "snapshots/deleted", &json!({}));
    let policy = json!({"policy": {"bindings": [{"role": "roles/viewer", "members": ["allUsers"]}]}});
    let policies = ["topics/topic", "subscriptions/all", "snapshots/kept"];
    let written = policies.map(|resource| api.call("POST", &format!("{resource}:setIamPolicy"), &policy));
    let before = api.call("GET", "snapshots", &json!({}));
    // Answered, so the acknowledgements before it are on disk.
    api.publish("topic", "last", "");
    drop(process);

    let process = Process::start(&directory);
    let api = process.api;
    assert_eq!(api.call("GET", "snapshots", &json!({})), before);
    assert_eq!(before["snapshots"].as_array().unwrap().len(), 1);
    assert_eq!(policies.map(|resource| api.call("GET", &format!("{resource}:getIamPolicy"), &json!({}))), written);
    assert_eq!(texts(&api.pull("all")), ["last"]);
    api.call("POST", "subscriptions/all:seek", &json!({"snapshot": "projects/p/snapshots/kept"}));
    let received = api.pull("all");
    assert_eq!(texts(&received), ["open", "later"]);
    // The snapshot gets messages that are published after the restart.
    api.publish("topic", "even later", "");
    api.acknowledge("all", &api.pull("all").iter().collect::<Vec<_>>());
    api.acknowledge("all", &received.iter().collect::<Vec<_>>());
    api.call("POST", "subscriptions/all:seek", &json!({"snapshot": "projects/p/snapshots/kept"}));
    assert_eq!(texts(&api.pull("all")), ["open", "later", "even later"]);
    api.call("DELETE", "snapshots/kept", &json!({}));
    api.call("DELETE", "topics/topic", &json!({}));
    drop(process);

    let process = Process::start(&directory);
    let api = process.api;
    assert_eq!(api.call("GET", "snapshots", &json!({})), json!({}));
    api.topic("topic", &json!({}));
    assert_eq!(api.call("GET", "topics/topic:getIamPolicy", &json!({})), json!({"etag": "ACAB"}));
}
