//! What is there after a shutdown.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use crate::process::{Running, directory};
use crate::rest_api::texts;

#[test]
fn what_is_kept_for_a_seek_comes_back_and_what_is_deleted_does_not() {
    let directory = directory("seek");
    let pubsub = Running::start(&directory);
    let api = pubsub.api;
    api.topic("keeps", &json!({"messageRetentionDuration": "600s"}));
    api.topic("topic", &json!({}));
    api.topic("gone", &json!({}));
    api.subscription("filtered", "keeps", json!({"filter": "attributes.text = \"yes\""}));
    api.subscription("retaining", "topic", json!({"retainAckedMessages": true}));
    api.subscription("deleted", "topic", json!({}));
    api.subscription("detached", "topic", json!({}));
    api.subscription("orphan", "gone", json!({}));
    api.publish("keeps", "yes", "");
    api.publish("keeps", "no", "");
    api.publish("topic", "one", "");
    api.publish("gone", "left", "");
    for subscription in ["filtered", "retaining"] {
        let received = api.pull(subscription);
        assert_eq!(received.len(), 1);
        api.acknowledge(subscription, &[&received[0]]);
    }
    api.call("DELETE", "topics/gone", &json!({}));
    api.call("DELETE", "subscriptions/deleted", &json!({}));
    api.call("POST", "subscriptions/detached:detach", &json!({}));
    drop(pubsub);

    let pubsub = Running::start(&directory);
    let api = pubsub.api;
    assert_eq!(texts(&api.pull("orphan")), ["left"]);
    api.subscription("deleted", "keeps", json!({}));
    let backlog = |id: &str| pubsub.handle.backlog(&format!("projects/p/subscriptions/{id}"));
    assert_eq!(["deleted", "detached", "filtered", "retaining"].map(backlog), [Some(0); 4]);
    for id in ["deleted", "filtered", "retaining"] {
        api.call("POST", &format!("subscriptions/{id}:seek"), &json!({"time": "2020-01-01T00:00:00Z"}));
    }
    assert_eq!(texts(&api.pull("deleted")), ["yes", "no"]);
    assert_eq!(texts(&api.pull("filtered")), ["yes"]);
    assert_eq!(texts(&api.pull("retaining")), ["one"]);
}

#[test]
fn pushes_go_on_in_their_form() {
    let directory = directory("pushes");
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", endpoint.local_addr().unwrap());
    let name = "projects/p/subscriptions/pushed";
    {
        let pubsub = Running::start(&directory);
        pubsub.api.topic("topic", &json!({}));
        pubsub.api.subscription("pushed", "topic", json!({}));
        pubsub.api.publish("topic", "text", "");
        pubsub.handle.set_eventarc(name, true).unwrap();
        // The endpoint accepts no connection yet: the message waits.
        let config = json!({"pushConfig": {"pushEndpoint": url}});
        pubsub.api.call("POST", "subscriptions/pushed:modifyPushConfig", &config);
    }
    let ended = AtomicBool::new(false);
    let requests = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The first connection is of the process before.
            while !ended.load(Ordering::Acquire) {
                let (mut stream, _) = endpoint.accept().unwrap();
                let mut request = BufReader::new(stream.try_clone().unwrap());
                let mut head = Vec::new();
                loop {
                    let mut line = String::new();
                    if request.read_line(&mut line).unwrap_or_default() <= 2 {
                        break;
                    }
                    head.push(line.to_lowercase());
                }
                requests.lock().unwrap().push(head);
                let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
            }
        });
        let pubsub = Running::start(&directory);
        let mut events = pubsub.handle.events();
        while pubsub.handle.backlog(name).unwrap() > 0 {
            events.blocking_recv().unwrap();
        }
        ended.store(true, Ordering::Release);
        drop(TcpStream::connect(endpoint.local_addr().unwrap()));
    });
    let requests = requests.into_inner().unwrap();
    let mut requests = requests.iter().filter(|head| !head.is_empty()).peekable();
    assert!(requests.peek().is_some());
    assert!(requests.all(|head| head.iter().any(|line| line.starts_with("ce-type:"))));
}

#[test]
fn messages_that_nothing_holds_take_no_space() {
    use redb::{ReadableDatabase, ReadableTableMetadata};
    let directory = directory("room");
    {
        let pubsub = Running::start(&directory);
        pubsub.api.topic("topic", &json!({}));
        for id in ["one", "other"] {
            pubsub.api.subscription(id, "topic", json!({}));
        }
        pubsub.api.publish("topic", "text", "");
        for id in ["one", "other"] {
            let received = pubsub.api.pull(id);
            pubsub.api.acknowledge(id, &[&received[0]]);
            // Writes a batch, so that the next acknowledgement is in another one.
            pubsub.api.topic(id, &json!({}));
        }
        pubsub.api.publish("topic", "text", "");
        for id in ["one", "other"] {
            pubsub.api.call("DELETE", &format!("subscriptions/{id}"), &json!({}));
        }
    }
    let database = redb::Database::open(directory.join("pubsub.redb")).unwrap();
    let read = database.begin_read().unwrap();
    let messages = read.open_table(redb::TableDefinition::<u64, &[u8]>::new("messages")).unwrap();
    let holds = read.open_table(redb::TableDefinition::<(u64, u64), (u8, u32)>::new("holds")).unwrap();
    let subscriptions = redb::TableDefinition::<&str, (u64, bool, &[u8])>::new("subscriptions");
    let subscriptions = read.open_table(subscriptions).unwrap();
    assert_eq!([messages.len(), holds.len(), subscriptions.len()].map(Result::unwrap), [0; 3]);
}
