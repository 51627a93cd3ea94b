//! Pub/Sub on this machine: a faithful one, for `cargo xtask dev` and for tests.
//!
//! A [`Bus`] serves, on one loopback port and without credentials:
//!
//! - Pub/Sub's gRPC API (`google.pubsub.v1.Publisher` and `Subscriber`, streaming pull included, and
//!   `google.iam.v1.IAMPolicy`), so that every official client works with `PUBSUB_EMULATOR_HOST`;
//! - the REST API of the same, as curl and gcloud use it, and `GET /`, which answers `Ok`;
//! - `GET /oauth2/v3/certs`: the keys that check the tokens of its pushes, for `AUTH_KEYS_URL`.
//!
//! It has the semantics of the service: acknowledgement deadlines, redelivery with backoff, delivery attempts and
//! dead letters, filters, ordering keys, exactly-once delivery, retention, snapshots and seek, limits, statuses and
//! messages; pushes wrapped, unwrapped and as Eventarc sends them. IAM policies are kept, and enforced nowhere. It
//! has no schemas, transforms, and no export subscriptions: those are UNIMPLEMENTED. It serves loopback addresses,
//! and no page of a browser: a request with a foreign `Host`, `Origin` or `Sec-Fetch-Site`, or with a content type
//! that a page may send unasked, is refused with 403 or PERMISSION_DENIED. Messages are in memory, bounded by
//! [`Limits`], and gone when it ends, unless it was made with [`Bus::open`].
//!
//! # With a directory
//!
//! [`Bus::open`] keeps topics, subscriptions, snapshots, IAM policies, messages and their failed deliveries in a
//! directory too, whichever way the process ends. Changes of all these resources, publishes, seeks, and
//! acknowledgements with exactly-once delivery are answered when they are on disk (many requests share one write);
//! everything else is written within a moment. So a crash loses no message whose publish was answered; it may bring
//! back one that was acknowledged just before, and forget a failed delivery of that moment. After a start every
//! message that is not acknowledged can be delivered at once. All of it is in memory as well: the limits hold, and
//! what was kept is taken in even if it is more. The file does not shrink; its free space is used again.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use pubsub::{Bus, Limits};
//!
//! let bus = Bus::bind("127.0.0.1:0".parse()?, Limits::default())?;
//! println!("PUBSUB_EMULATOR_HOST={}", bus.address());
//! let handle = bus.handle();
//! let mut events = handle.events();
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(bus.run(async { drop(stopped.await) }));
//! // … `events.recv().await` tells of every message's way …
//! drop(stop);
//! running.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Layout
//!
//! - `state`: topics, subscriptions and their messages, without I/O; `queue`: the messages of one subscription
//! - `settings`, `publication`, `policy`, `names`: what may be asked for; `error`: the words of refusals
//! - `journal`, `store`: what has changed, and the file that it is written to
//! - `shared`: the state behind a lock, the clock, the waiting
//! - `server`: the port; `origin`: who may use it; `grpc`, `rest`: the two forms of the API
//! - `push`: messages to endpoints, and the tokens they carry
//! - [`Event`]: what happens to messages

mod error;
mod event;
mod grpc;
mod journal;
mod message;
mod names;
mod origin;
mod policy;
mod publication;
mod push;
mod queue;
mod rest;
mod server;
mod settings;
mod shared;
mod state;
mod store;
mod time;

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use tokio::sync::broadcast;

pub use event::{Cause, Event, What};
pub use message::Message;
use shared::Shared;
pub use time::Time;

/// What a bus keeps at most. More is refused with RESOURCE_EXHAUSTED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of messages, and of what is noted about them.
    pub bytes: usize,
    /// Messages that wait in subscriptions; one that waits in two counts twice.
    pub messages: usize,
}

impl Default for Limits {
    /// 512 MiB, a million messages.
    fn default() -> Self {
        Self { bytes: 512 << 20, messages: 1_000_000 }
    }
}

/// A Pub/Sub that has its port.
#[derive(Debug)]
pub struct Bus {
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl Bus {
    /// Takes a port of this machine; port 0 is any free one. Connections wait from now on, and are served by [`Bus::run`].
    ///
    /// # Errors
    /// When the address is not a loopback address (there are no credentials here), or cannot be had.
    pub fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address, shared: Arc::new(Shared::new(limits)) })
    }

    /// As [`Bus::bind`], with what a directory keeps, and keeping everything there. The directory is made if it is missing; it
    /// is free for another bus once [`Bus::run`] is done or, without that, the bus and its handles are dropped.
    ///
    /// # Errors
    /// As [`Bus::bind`]; [`io::ErrorKind::ResourceBusy`] when another process uses the directory, and
    /// [`io::ErrorKind::InvalidData`] when what is there is damaged, of another program or of a newer version.
    pub fn open(address: SocketAddr, limits: Limits, directory: &Path) -> io::Result<Self> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address, shared: Arc::new(Shared::open(limits, directory)?) })
    }

    /// `HOST:PORT`, as `PUBSUB_EMULATOR_HOST` takes it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What can be done with it from within the process.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown` is ready. Then streams end with UNAVAILABLE, and requests and pushes on their way have two
    /// seconds to end.
    ///
    /// # Panics
    /// Outside of a tokio runtime with I/O and time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        server::run(self.listener, self.shared, shutdown).await;
    }
}

fn listen(address: SocketAddr) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    if !address.ip().is_loopback() {
        let why =
            format!("the local Pub/Sub asks for no credentials and serves loopback addresses only, not {address}");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, why));
    }
    let why = |error: io::Error| {
        io::Error::new(error.kind(), format!("the local Pub/Sub cannot listen on {address}: {error}"))
    };
    let listener = std::net::TcpListener::bind(address).map_err(why)?;
    listener.set_nonblocking(true).map_err(why)?;
    let address = listener.local_addr().map_err(why)?;
    Ok((listener, address))
}

/// What can be done with a bus from within the process, beside its API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Everything that happens to messages from now on. A receiver that falls more than a few thousand events behind loses the
    /// oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events()
    }

    /// Makes the pushes of a subscription those of an Eventarc trigger: a CloudEvent in binary mode whose data is the wrapped
    /// message. `false` makes them Pub/Sub's own again.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub fn set_eventarc(&self, subscription: &str, eventarc: bool) -> Result<(), tonic::Status> {
        self.shared.with(|state, _| state.set_eventarc(subscription, eventarc))
    }

    /// Has a subscription push nowhere, if there is such a one: its messages wait for an endpoint, or to be pulled.
    pub fn stop_pushing(&self, subscription: &str) {
        self.shared.with(|state, _| state.stop_pushing(subscription));
    }

    /// Ends every wait for a next attempt of this subscription's messages, as when a service is there again.
    ///
    /// # Errors
    /// When there is no such subscription.
    pub fn retry_now(&self, subscription: &str) -> Result<(), tonic::Status> {
        self.shared.with(|state, _| state.hurry(subscription))
    }

    /// How many messages of a subscription are not acknowledged; `None` if there is no such subscription.
    pub fn backlog(&self, subscription: &str) -> Option<usize> {
        self.shared.with(|state, _| state.backlog(subscription))
    }
}
