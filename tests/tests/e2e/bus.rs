//! The local Pub/Sub over its port.

mod api;
mod clients;
mod delivery;
mod differences;
mod push;
