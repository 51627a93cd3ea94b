//! The local Pub/Sub over its port.

mod api;
mod clients;
mod data_directory;
mod delivery;
mod differences;
mod push;
