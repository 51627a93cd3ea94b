//! The local Pub/Sub, in this process.

use std::ops::Deref;
use std::sync::OnceLock;
use std::thread::JoinHandle;

use pubsub::{Handle, Limits, LocalPubSub};
use tokio::sync::oneshot;

use crate::PubSub;

/// A running local Pub/Sub on a thread and a runtime of its own, so that tests with a runtime each can share it; ends
/// when dropped. Derefs to what can be done with it.
#[derive(Debug)]
pub struct Bus {
    pubsub: PubSub,
    handle: Handle,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Bus {
    /// Starts one on a free port.
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0", Limits::default())
    }

    /// Starts one at `127.0.0.1:PORT`.
    ///
    /// # Panics
    /// When the port cannot be had.
    pub fn start_at(host: &str, limits: Limits) -> Self {
        let address = host.parse().unwrap_or_else(|error| panic!("{host}: {error}"));
        let bus = LocalPubSub::bind(address, limits).unwrap_or_else(|error| panic!("{error}"));
        let pubsub = PubSub::at(&bus.address().to_string());
        let handle = bus.handle();
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.unwrap_or_else(|error| panic!("no runtime: {error}"));
            runtime.block_on(bus.run(async { drop(stopped.await) }));
        });
        Self { pubsub, handle, stop: Some(stop), thread: Some(thread) }
    }

    /// The one that all tests of this process share.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Bus> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// What can be done with it from within the process.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Deref for Bus {
    type Target = PubSub;

    fn deref(&self) -> &PubSub {
        &self.pubsub
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
