//! Why the process cannot start.

/// The process cannot start: a setting or a task that cannot be used, or an address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting: which, its value, and what would be right.
    #[error("{setting} is `{value}`: {why}")]
    Setting {
        /// The environment variable.
        setting: &'static str,
        /// What it is.
        value: String,
        /// What is wrong with it, and what would be right.
        why: String,
    },
    /// The program itself is wrong.
    #[error("{0}")]
    Tasks(String),
    /// The operating system refuses.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        error: std::io::Error,
    },
}

impl StartError {
    pub(super) fn setting(setting: &'static str, value: impl Into<String>, why: impl ToString) -> Self {
        Self::Setting { setting, value: value.into(), why: why.to_string() }
    }

    /// For `map_err` on what was tried.
    pub(super) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::System { what, error }
    }
}
