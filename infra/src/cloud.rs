//! Google Cloud, as a deployment sees it.

mod settings;

pub use settings::{Api, Endpoint, Found, Settings, SettingsError};
