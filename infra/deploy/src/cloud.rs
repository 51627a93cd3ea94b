//! Google Cloud, as a deployment sees it: [`Google`] reads, lists, creates, changes and deletes the resources of a
//! [plan](crate::plan), each as the JSON of its REST API.
//!
//! - `settings`: project, region, endpoints and credentials, found as Google's own tools find them
//! - `error`: what went wrong, and whether another attempt helps
//! - `obstacle`: what prevents a deployment and is not part of its topology, and what to do about it
//! - `retry`: what is worth waiting for, and for how long
//! - `google`: which API has which kind of resource, and what all kinds share
//! - `find`: what there is of a deployment
//! - `calls`: the calls that a kind of resource has
//! - `agent`, `eventarc`, `iam`, `project`, `pubsub`, `run`, `secret`, `storage`: one file an API
//! - `ownership`: which project a bucket belongs to
//! - `client`: what the official clients share
//! - `rest`: a client for methods that the official clients lack

mod agent;
mod calls;
mod client;
mod error;
mod eventarc;
mod find;
mod google;
mod iam;
mod obstacle;
mod ownership;
mod project;
mod pubsub;
mod rest;
mod retry;
mod run;
mod secret;
mod settings;
mod storage;

pub use crate::resources::Api;
pub use error::{CloudError, Fault};
pub use google::Google;
pub use obstacle::Obstacle;
pub use rest::{RequestLimits, RestClient, RestError, RestResponse};
pub use retry::Cause;
pub(crate) use retry::Retry;
pub use settings::{Endpoint, Found, Settings, SettingsError};
