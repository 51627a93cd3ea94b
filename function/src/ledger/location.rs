//! The setting `LEDGER`.

use std::fmt;
use std::str::FromStr;

use crate::sink::{Destination, DestinationError};

/// Where the ledger is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum LedgerLocation {
    /// There is none: duplicates are found within a process only.
    #[default]
    Off,
    /// Objects in a bucket: `gs://BUCKET/PREFIX/`.
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What object names begin with: empty, or ending in `/`.
        prefix: String,
    },
}

impl FromStr for LedgerLocation {
    type Err = DestinationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if text.is_empty() || text == "off" {
            return Ok(Self::Off);
        }
        if text.starts_with("gs://")
            && let Destination::Bucket { bucket, prefix } = text.parse()?
        {
            return Ok(Self::Bucket { bucket, prefix });
        }
        Err(DestinationError::new(text, "a ledger is `off` or `gs://BUCKET/PREFIX/`".to_owned()))
    }
}

impl fmt::Display for LedgerLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Bucket { bucket, prefix } => write!(f, "gs://{bucket}/{prefix}"),
        }
    }
}
