//! A bus with a directory, through its API: what is there after it was killed, or ended.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};

use pubsub::{Handle, Limits, LocalPubSub};
use serde_json::{Value, json};
use tokio::sync::oneshot;

/// The directory of the bus that this process is, if it is one.
const DIRECTORY: &str = "DATA_DIRECTORY_OF_TEST";

/// An empty directory of this test's own.
fn directory(test: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != ErrorKind::NotFound => panic!("{error}"),
        _ => directory,
    }
}

fn open(directory: &Path) -> std::io::Result<LocalPubSub> {
    LocalPubSub::open("127.0.0.1:0".parse().unwrap(), Limits::default(), directory)
}

/// Pub/Sub's REST API at an address.
#[derive(Clone, Copy)]
struct Api(SocketAddr);

impl Api {
    /// `None` if the bus is gone.
    fn try_call(self, method: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
        let mut stream = TcpStream::connect(self.0).ok()?;
        let body = body.to_string();
        let head = format!(
            "{method} /v1/projects/p/{path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all((head + &body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, serde_json::from_str(body).ok()?))
    }

    fn call(self, method: &str, path: &str, body: &Value) -> Value {
        let (status, answer) = self.try_call(method, path, body).unwrap();
        assert_eq!(status, 200, "{method} {path}: {answer}");
        answer
    }

    fn topic(self, id: &str, body: &Value) {
        self.call("PUT", &format!("topics/{id}"), body);
    }

    fn subscription(self, id: &str, topic: &str, mut body: Value) {
        body["topic"] = format!("projects/p/topics/{topic}").into();
        self.call("PUT", &format!("subscriptions/{id}"), &body);
    }

    /// The id.
    fn publish(self, topic: &str, text: &str, key: &str) -> String {
        let body = json!({"messages": [{"attributes": {"text": text}, "orderingKey": key}]});
        let answer = self.call("POST", &format!("topics/{topic}:publish"), &body);
        answer["messageIds"][0].as_str().unwrap().to_owned()
    }

    /// All that is ready.
    fn pull(self, subscription: &str) -> Vec<Received> {
        let body = json!({"maxMessages": 1000, "returnImmediately": true});
        let mut received = Vec::new();
        loop {
            let answer = self.call("POST", &format!("subscriptions/{subscription}:pull"), &body);
            let Some(messages) = answer["receivedMessages"].as_array() else { return received };
            received.extend(messages.iter().map(|message| Received {
                text: message["message"]["attributes"]["text"].as_str().unwrap().to_owned(),
                id: message["message"]["messageId"].as_str().unwrap().to_owned(),
                attempt: message["deliveryAttempt"].as_u64().unwrap_or_default(),
                ack_id: message["ackId"].as_str().unwrap().to_owned(),
            }));
        }
    }

    fn acknowledge(self, subscription: &str, received: &[&Received]) {
        let ids: Vec<&str> = received.iter().map(|received| received.ack_id.as_str()).collect();
        self.call("POST", &format!("subscriptions/{subscription}:acknowledge"), &json!({"ackIds": ids}));
    }

    fn refuse(self, subscription: &str, received: &[&Received]) {
        let ids: Vec<&str> = received.iter().map(|received| received.ack_id.as_str()).collect();
        let body = json!({"ackIds": ids, "ackDeadlineSeconds": 0});
        self.call("POST", &format!("subscriptions/{subscription}:modifyAckDeadline"), &body);
    }
}

#[derive(Debug)]
struct Received {
    text: String,
    id: String,
    attempt: u64,
    ack_id: String,
}

fn texts(received: &[Received]) -> Vec<&str> {
    received.iter().map(|received| received.text.as_str()).collect()
}

/// A bus in a process of its own, which is killed when this is dropped.
struct Process {
    child: Child,
    api: Api,
}

impl Process {
    fn start(directory: &Path) -> Self {
        Self::run(&mut Command::new(std::env::current_exe().unwrap()), directory)
    }

    /// Whose files may not become larger than this: as on a full disk.
    fn start_with_little_room(directory: &Path, blocks: u32) -> Self {
        let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(std::env::current_exe().unwrap());
        Self::run(&mut command, directory)
    }

    fn run(command: &mut Command, directory: &Path) -> Self {
        let mut child = command
            .args(["--exact", "a_bus_in_a_process_of_its_own", "--ignored", "--nocapture"])
            .env(DIRECTORY, directory)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let address = lines.filter_map(|line| line.split("bus at ").nth(1)?.parse().ok()).next().unwrap();
        Self { child, api: Api(address) }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL: nothing of the bus runs after it.
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
#[ignore = "the other tests start it"]
fn a_bus_in_a_process_of_its_own() {
    let directory = std::env::var_os(DIRECTORY).unwrap();
    let bus = open(Path::new(&directory)).unwrap();
    println!("bus at {}", bus.address());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(bus.run(std::future::pending()));
}

/// A bus in this process, which ends well when this is dropped.
struct Running {
    api: Api,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Running {
    fn start(directory: &Path) -> Self {
        let bus = open(directory).unwrap();
        let (api, handle) = (Api(bus.address()), bus.handle());
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(bus.run(async { drop(stopped.await) }));
        });
        Self { api, handle, stop: Some(stop), thread: Some(thread) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop = None;
        self.thread.take().unwrap().join().unwrap();
    }
}

#[test]
fn a_killed_bus_goes_on_with_what_was_not_acknowledged() {
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
    // Acknowledged out of turn: its order brings it again.
    api.acknowledge("ordered", &received.iter().filter(|r| r.text == "blue 3").collect::<Vec<_>>());
    let received = api.pull("counted");
    api.acknowledge("counted", &[&received[1], &received[2]]);
    api.refuse("counted", &[&received[0]]);
    for attempt in [2, 3, 4] {
        let again = api.pull("counted");
        assert_eq!((again[0].text.as_str(), again[0].attempt), ("red 0", attempt));
        api.refuse("counted", &[&again[0]]);
    }
    // What was noted before an answered publish is on disk with it.
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
    api.refuse("counted", &[&counted[0]]);
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
fn what_is_kept_for_a_seek_comes_back_and_what_is_deleted_does_not() {
    let directory = directory("seek");
    let bus = Running::start(&directory);
    let api = bus.api;
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
    drop(bus);

    let bus = Running::start(&directory);
    let api = bus.api;
    assert_eq!(texts(&api.pull("orphan")), ["left"]);
    api.subscription("deleted", "keeps", json!({}));
    let backlog = |id: &str| bus.handle.backlog(&format!("projects/p/subscriptions/{id}"));
    assert_eq!(["deleted", "detached", "filtered", "retaining"].map(backlog), [Some(0); 4]);
    for id in ["deleted", "filtered", "retaining"] {
        api.call("POST", &format!("subscriptions/{id}:seek"), &json!({"time": "2020-01-01T00:00:00Z"}));
    }
    assert_eq!(texts(&api.pull("deleted")), ["yes", "no"]);
    assert_eq!(texts(&api.pull("filtered")), ["yes"]);
    assert_eq!(texts(&api.pull("retaining")), ["one"]);
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
fn pushes_go_on_in_their_form() {
    let directory = directory("pushes");
    let endpoint = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", endpoint.local_addr().unwrap());
    let name = "projects/p/subscriptions/pushed";
    {
        let bus = Running::start(&directory);
        bus.api.topic("topic", &json!({}));
        bus.api.subscription("pushed", "topic", json!({}));
        bus.api.publish("topic", "text", "");
        bus.handle.set_eventarc(name, true).unwrap();
        // Nobody accepts: the message waits.
        let config = json!({"pushConfig": {"pushEndpoint": url}});
        bus.api.call("POST", "subscriptions/pushed:modifyPushConfig", &config);
    }
    let ended = AtomicBool::new(false);
    let requests = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            // The first is of the bus before.
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
        let bus = Running::start(&directory);
        let mut events = bus.handle.events();
        while bus.handle.backlog(name).unwrap() > 0 {
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
fn what_nobody_waits_for_takes_no_room() {
    use redb::{ReadableDatabase, ReadableTableMetadata};
    let directory = directory("room");
    {
        let bus = Running::start(&directory);
        bus.api.topic("topic", &json!({}));
        for id in ["one", "other"] {
            bus.api.subscription(id, "topic", json!({}));
        }
        bus.api.publish("topic", "text", "");
        for id in ["one", "other"] {
            let received = bus.api.pull(id);
            bus.api.acknowledge(id, &[&received[0]]);
            // Written apart from the next acknowledgement.
            bus.api.topic(id, &json!({}));
        }
        bus.api.publish("topic", "text", "");
        for id in ["one", "other"] {
            bus.api.call("DELETE", &format!("subscriptions/{id}"), &json!({}));
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

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_the_reason() {
    let directory = directory("refused");
    let refused = |kind: ErrorKind, why: &str| {
        let error = open(&directory).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains("pubsub.redb"), "{error}");
    };
    let bus = open(&directory).unwrap();
    refused(ErrorKind::ResourceBusy, "in use by another process");
    drop(bus);
    drop(open(&directory).unwrap());

    let file = directory.join("pubsub.redb");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let database = redb::Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    refused(ErrorKind::InvalidData, "its format is 2");

    std::fs::remove_file(&file).unwrap();
    let database = redb::Database::create(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<u64, u64>::new("other")).unwrap();
    write.commit().unwrap();
    drop(database);
    refused(ErrorKind::InvalidData, "another program");

    std::fs::write(&file, "a text").unwrap();
    refused(ErrorKind::InvalidData, "not a store");

    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "a file").unwrap();
    let error = open(&directory).unwrap_err().to_string();
    assert!(error.contains("cannot make the data directory"), "{error}");
    std::fs::remove_file(&directory).unwrap();
}

#[test]
fn a_killed_bus_still_has_its_snapshots_and_policies() {
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
    // Answered, and so are the acknowledgements before it on disk.
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
    // A message that is published after the restart is the snapshot's too.
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
