//! The local Pub/Sub over its port.

mod api;
mod clients;
mod data_directory;
mod delivery;
mod differences;
mod masks;
mod pages;
mod policies;
mod push;
mod snapshots;
mod streams;

use tests::PubSub;
use tonic::transport::{Channel, Endpoint};

/// A connection for clients of gRPC.
async fn channel(pubsub: &PubSub) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", pubsub.host())).unwrap();
    endpoint.connect().await.unwrap_or_else(|error| panic!("{}: {error}", pubsub.host()))
}
