//! Google Cloud, as a deployment sees it: [`Google`] reads, lists, makes, changes and deletes the resources of a
//! [plan](crate::plan), each as the JSON of its REST API.
//!
//! - `settings`: project, region, endpoints and credentials, found as Google's own tools find them
//! - `error`: what went wrong, and whether trying again helps
//! - `obstacle`: what has to be put right outside of the topology, and how
//! - `patience`: what is worth waiting for, and for how long
//! - `google`: which API has which resource
//! - `agent`, `eventarc`, `iam`, `project`, `pubsub`, `run`, `secret`, `storage`: one file an API
//! - `ownership`: whose a bucket is
//! - `rest`: calls that the official clients lack

mod agent;
mod error;
mod eventarc;
mod google;
mod iam;
mod obstacle;
mod ownership;
mod patience;
mod project;
mod pubsub;
mod rest;
mod run;
mod secret;
mod settings;
mod storage;

pub use error::{CloudError, Fault};
pub use google::Google;
pub use obstacle::Obstacle;
pub use patience::Cause;
pub(crate) use patience::Retry;
pub use settings::{Api, Endpoint, Found, Settings, SettingsError};
