//! A local Pub/Sub: Google Cloud Pub/Sub's API and semantics in one process, for development and tests.
//!
//! It depends on nothing of this project but the filter language and Pub/Sub's limits (crate `infra`), so it is of use
//! by itself: start it in a test or a tool, and point any Pub/Sub client at its address with `PUBSUB_EMULATOR_HOST`.
//! `cargo xtask dev` runs on it. Unlike Google's emulator it needs no Java, signs the tokens of its pushes, pushes as
//! Eventarc does, can keep its data in a directory, and reports every event of a message to the process that it runs
//! in.
//!
//! # Example
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(async {
//! use pubsub::{Limits, LocalPubSub};
//!
//! let pubsub = LocalPubSub::bind("127.0.0.1:0".parse()?, Limits::default())?;
//! println!("PUBSUB_EMULATOR_HOST={}", pubsub.address());
//! let handle = pubsub.handle();
//! let mut events = handle.events();
//! let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
//! let running = tokio::spawn(pubsub.run(async { drop(stopped.await) }));
//! // … `events.recv().await` returns what happens to every message …
//! drop(stop);
//! running.await?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! `examples/push_throughput.rs` measures how many messages a second it pushes.
//!
//! # What it serves
//!
//! On one loopback port and without credentials:
//!
//! - Pub/Sub's gRPC API (`google.pubsub.v1.Publisher` and `Subscriber`, streaming pull included, and
//!   `google.iam.v1.IAMPolicy`), so that every official client works with `PUBSUB_EMULATOR_HOST`;
//! - the same API over REST, as curl and gcloud use it, and `GET /`, which answers `Ok`;
//! - `GET /oauth2/v3/certs`: the keys that verify the tokens of its pushes, for `AUTH_KEYS_URL`.
//!
//! It has the semantics of the service: acknowledgement deadlines, redelivery with backoff, delivery attempts and
//! dead letters, filters, ordering keys, exactly-once delivery, retention, snapshots and seek, limits, statuses and
//! error texts; pushes wrapped, unwrapped and as Eventarc sends them. IAM policies are stored, and never enforced. It
//! has no schemas, transforms or export subscriptions: those are UNIMPLEMENTED.
//!
//! It listens on loopback addresses only, and refuses web pages: a request with a foreign `Host`, `Origin` or
//! `Sec-Fetch-Site`, or with a content type that a page may send without asking, gets 403 or PERMISSION_DENIED.
//!
//! Messages are in memory, bounded by [`Limits`], and gone when the process ends, unless it was made with
//! [`LocalPubSub::open`].
//!
//! # How a message is delivered
//!
//! Each subscription has every message in one of these states:
//!
//! ```text
//!          publish         pull or push          acknowledge
//!  (new) ───────────▶ Ready ───────────▶ Leased ───────────▶ (removed)
//!                       ▲                   │ nack, or deadline passed
//!                       └──── Delayed ◀─────┤
//!                             (backoff)     └──▶ the dead-letter topic, after the last attempt
//! ```
//!
//! With an ordering key (and ordering on), only the key's current *run* is outstanding: a pull takes several messages in
//! order, a push takes one. The rest of the key waits until the whole run is acknowledged. When a message of the run
//! fails, all messages of the run behind it are redelivered after it, even those that were acknowledged.
//!
//! An acknowledgement id names one delivery. Without exactly-once delivery an id of an earlier delivery is good as well;
//! with it, only the current one is, until its deadline.
//!
//! # With a directory
//!
//! [`LocalPubSub::open`] also keeps topics, subscriptions, snapshots, IAM policies, messages and counts of failed
//! deliveries in a directory, however the process ends.
//!
//! - Changes of resources, publishes, seeks, and acknowledgements with exactly-once delivery are answered when they are
//!   on disk; many requests share one write. Everything else is written within a moment.
//! - So a crash loses no message whose publish was answered. It may redeliver one that was acknowledged just before,
//!   and forget a failed delivery of that moment.
//! - After a start, every message that is not acknowledged can be delivered at once.
//! - Everything is in memory as well: the limits hold, but what the directory holds is loaded even if it exceeds them.
//! - The file does not shrink; its free space is used again.
//!
//! # Layout
//!
//! - `state`: topics, subscriptions, snapshots and messages, without I/O; `queue`: the messages of one subscription
//! - `settings`, `publish`, `policy`, `names`: checks of what is asked for; `error`: the statuses of refusals
//! - `journal`, `store`: changes that are not on disk yet, and the file that they are written to
//! - `shared`: the state behind a lock, the clock, waiting
//! - `server`: the port; `browser_guard`: which requests are served; `grpc`, `rest`: the two forms of the API, and `api`: the
//!   methods that both share
//! - `push`: messages to endpoints, and the tokens that they carry
//! - [`Event`]: what happens to messages

mod api;
mod browser_guard;
mod error;
mod event;
mod grpc;
mod journal;
mod limits;
mod message;
mod names;
mod policy;
mod publish_request;
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

pub use event::{Event, EventKind, NackReason};
pub use limits::Limits;
pub use message::Message;
use shared::Shared;
pub use time::Time;

/// A local Pub/Sub that has its port, and serves it once [`LocalPubSub::run`] is polled.
#[derive(Debug)]
pub struct LocalPubSub {
    listener: std::net::TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

impl LocalPubSub {
    /// Binds a port of this machine; port 0 is any free one. Connections are accepted from now on, and served by
    /// [`LocalPubSub::run`].
    ///
    /// # Errors
    /// When the address is not a loopback address (there are no credentials here), or cannot be bound.
    pub fn bind(address: SocketAddr, limits: Limits) -> io::Result<Self> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address, shared: Arc::new(Shared::new(limits)) })
    }

    /// As [`LocalPubSub::bind`], with the contents of a directory, and keeping everything there. The directory is made
    /// if it is missing. Another process can use it once [`LocalPubSub::run`] has returned or, if that is not called,
    /// when this value and its handles are dropped.
    ///
    /// # Errors
    /// As [`LocalPubSub::bind`]; [`io::ErrorKind::ResourceBusy`] when another process uses the directory, and
    /// [`io::ErrorKind::InvalidData`] when its contents are damaged, of another program or of a newer version.
    pub fn open(address: SocketAddr, limits: Limits, directory: &Path) -> io::Result<Self> {
        let (listener, address) = listen(address)?;
        Ok(Self { listener, address, shared: Arc::new(Shared::open(limits, directory)?) })
    }

    /// `HOST:PORT`, as `PUBSUB_EMULATOR_HOST` takes it.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A handle for control and observation from within the process.
    pub fn handle(&self) -> Handle {
        Handle { shared: Arc::clone(&self.shared) }
    }

    /// Serves until `shutdown` is ready. Then streams end with UNAVAILABLE, and requests and pushes in flight have two
    /// seconds to finish.
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

/// Control of a local Pub/Sub from within its process, beside the API. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
}

impl Handle {
    /// Everything that happens to messages from now on. A receiver that falls more than a few thousand events behind
    /// loses the oldest and is told how many.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.shared.events()
    }

    /// Makes the pushes of a subscription those of an Eventarc trigger: a CloudEvent in binary mode whose data is the
    /// wrapped message. `false` makes them Pub/Sub's own again.
    ///
    /// # Errors
    /// NOT_FOUND when there is no such subscription.
    pub fn set_eventarc(&self, subscription: &str, eventarc: bool) -> Result<(), tonic::Status> {
        self.shared.with_state(|state, _| state.set_eventarc(subscription, eventarc))
    }

    /// Takes the push endpoint from a subscription, if it exists: its messages wait for an endpoint, or to be pulled.
    pub fn stop_pushing(&self, subscription: &str) {
        self.shared.with_state(|state, _| state.stop_pushing(subscription));
    }

    /// Ends every backoff of this subscription, so that failed messages are delivered again at once, for example
    /// because their service has come back.
    ///
    /// # Errors
    /// NOT_FOUND when there is no such subscription.
    pub fn retry_now(&self, subscription: &str) -> Result<(), tonic::Status> {
        self.shared.with_state(|state, _| state.skip_backoff(subscription))
    }

    /// How many messages of a subscription are not acknowledged; `None` if there is no such subscription.
    pub fn backlog(&self, subscription: &str) -> Option<usize> {
        self.shared.with_state(|state, _| state.backlog(subscription))
    }
}
