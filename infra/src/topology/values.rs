//! The small languages of values: durations, sizes, names, labels, destinations.

use std::fmt;
use std::time::Duration;

use super::bucket::{PROJECT, bucket_name};
use super::read::ValueError;
use crate::nearest;

/// Processor time of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cpu {
    /// Thousandths of one processor.
    pub millis: u32,
}

/// Memory of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Memory {
    /// Mebibytes, 2^20 bytes.
    pub mebibytes: u32,
}

/// A secret of Secret Manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Secret {
    /// Its name in the project, or `projects/P/secrets/NAME`.
    pub secret: String,
    /// A number or `latest`.
    pub version: String,
}

/// Where a service's results go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// The answer to the request.
    Response,
    /// The process's standard output.
    Stdout,
    /// A declared topic, by name.
    Topic(String),
    /// Objects of a bucket.
    Bucket {
        /// May contain `{project}`.
        bucket: String,
        /// Ends with `/`, or empty.
        prefix: String,
    },
}

impl Destination {
    /// The destination as the function's `RESULTS` setting writes it, for this project.
    pub fn setting(&self, project: &str) -> String {
        match self {
            Self::Response => "response".to_owned(),
            Self::Stdout => "stdout".to_owned(),
            Self::Topic(topic) => format!("projects/{project}/topics/{topic}"),
            Self::Bucket { bucket, prefix } => {
                format!("gs://{}/{prefix}", bucket.replace(PROJECT, project))
            }
        }
    }
}

impl fmt::Display for Cpu {
    /// As Cloud Run writes it: `1`, `500m`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis.is_multiple_of(1000) {
            write!(f, "{}", self.millis / 1000)
        } else {
            write!(f, "{}m", self.millis)
        }
    }
}

impl fmt::Display for Memory {
    /// As Cloud Run writes it: `512Mi`, `2Gi`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mebibytes.is_multiple_of(1024) {
            write!(f, "{}Gi", self.mebibytes / 1024)
        } else {
            write!(f, "{}Mi", self.mebibytes)
        }
    }
}

/// A minute and a day in seconds.
pub(super) const MINUTE_SECONDS: u64 = 60;
pub(super) const DAY_SECONDS: u64 = 86_400;

/// The tasks that the project comes with.
pub const TASKS: [&str; 3] = ["embed", "classify", "rerank"];

/// `90s`, `10m`, `1h30m`, `7d`, within bounds (in seconds) that `who` sets.
pub(super) fn duration((low, high): (u64, u64), who: &str) -> impl Fn(&str) -> Result<Duration, ValueError> {
    move |text| {
        let Some(seconds) = seconds(text) else {
            return Err(ValueError::new("not a duration")
                .help("write a whole number and `s`, `m`, `h` or `d`, such as \"60s\" or \"7d\""));
        };
        if !(low..=high).contains(&seconds) {
            let low = human(low);
            return Err(ValueError::new(match high {
                u64::MAX => format!("{who} allows {low} and more"),
                high => format!("{who} allows {low} to {}", human(high)),
            }));
        }
        Ok(Duration::from_secs(seconds))
    }
}

fn seconds(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum: u64 = 0;
    while !rest.is_empty() {
        let digits = rest.bytes().position(|b| !b.is_ascii_digit())?;
        let (number, unit) = rest.split_at(digits);
        let factor = match unit.bytes().next()? {
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            _ => return None,
        };
        sum = number.parse::<u64>().ok()?.checked_mul(factor)?.checked_add(sum)?;
        rest = &unit[1..];
    }
    (!text.is_empty()).then_some(sum)
}

/// A whole number of seconds in the largest unit that fits, and a single minute as seconds.
pub fn human(seconds: u64) -> String {
    match seconds {
        0 => "0s".to_owned(),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 && s > 60 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

pub(super) fn memory(text: &str) -> Result<Memory, ValueError> {
    let number = |unit: &str, factor: u32| text.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(factor);
    match number("Mi", 1).or_else(|| number("Gi", 1024)) {
        None => Err(ValueError::new("not a size").help("write a whole number and `Mi` or `Gi`, such as \"512Mi\"")),
        Some(mebibytes) if !(128..=32 * 1024).contains(&mebibytes) => {
            Err(ValueError::new("Cloud Run allows 128Mi to 32Gi"))
        }
        Some(mebibytes) => Ok(Memory { mebibytes }),
    }
}

/// `1`, `0.5` or `500m`.
pub(super) fn cpu(text: &str) -> Result<Cpu, ValueError> {
    let millis = match text.strip_suffix('m') {
        Some(millis) => millis.parse::<u32>().ok(),
        None => {
            let (whole, part) = text.split_once('.').unwrap_or((text, ""));
            let part = if part.len() <= 3 { format!("{part:0<3}").parse::<u32>().ok() } else { None };
            let whole = whole.parse::<u32>().ok().and_then(|whole| whole.checked_mul(1000));
            whole.zip(part).and_then(|(whole, part)| whole.checked_add(part))
        }
    };
    match millis {
        Some(millis @ (80..=1000 | 2000 | 4000 | 6000 | 8000)) => Ok(Cpu { millis }),
        _ => Err(ValueError::new("Cloud Run allows 0.08 to 1, 2, 4, 6 or 8 processors")),
    }
}

/// Pub/Sub's rule for the names of topics and subscriptions.
pub(super) fn pubsub_name(name: &str) -> Result<(), ValueError> {
    let rule = if !(3..=255).contains(&name.len()) {
        "Pub/Sub allows 3 to 255 characters"
    } else if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        "a name in Pub/Sub begins with a letter"
    } else if name.starts_with("goog") {
        "names that begin with `goog` are Google's"
    } else if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+%".contains(&b)) {
        "Pub/Sub allows letters, digits and `-` `_` `.` `~` `+` `%`"
    } else {
        return Ok(());
    };
    Err(ValueError::new(rule))
}

/// Lower case, digits and `-`, from a letter to a letter or digit: services, service accounts, environments.
pub(super) fn dns_name((low, high): (usize, usize), who: &'static str) -> impl Fn(&str) -> Result<(), ValueError> {
    move |name| {
        let rule = if !(low..=high).contains(&name.len()) {
            format!("{who} allows {low} to {high} characters")
        } else if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
            format!("{who} wants a lower-case letter first")
        } else if !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-') {
            format!("{who} allows lower-case letters, digits and `-`")
        } else if name.ends_with('-') {
            format!("{who} allows no `-` at the end")
        } else {
            return Ok(());
        };
        Err(ValueError::new(rule))
    }
}

/// Google's rule for resource labels; `true` with the value's error.
pub(super) fn label(key: &str, value: &str) -> Result<String, (bool, ValueError)> {
    let fits = |text: &str| {
        text.chars().count() <= 63
            && text.chars().all(|c| c.is_numeric() || c == '-' || c == '_' || (c.is_alphabetic() && !c.is_uppercase()))
    };
    let begins = |c: char| c.is_alphabetic() && !c.is_uppercase();
    if !key.starts_with(begins) || !fits(key) {
        let rule = "a label is 1 to 63 lower-case letters, digits, `-` and `_`, a letter first";
        return Err((false, ValueError::new(rule)));
    }
    if !fits(value) {
        let rule = "a label's value is at most 63 lower-case letters, digits, `-` and `_`";
        return Err((true, ValueError::new(rule)));
    }
    Ok(value.to_owned())
}

/// `[a-z][a-z0-9-]*`; which tasks there are is known to the function alone.
pub(super) fn task_name(name: &str) -> Result<String, ValueError> {
    let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if plain && name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Ok(name.to_owned());
    }
    let wrong = ValueError::new("a task's name is lower-case letters, digits and `-`, a letter first");
    Err(match nearest(name.trim(), &TASKS) {
        Some(nearest) => wrong.help(format!("did you mean `{nearest}`?")),
        None => wrong,
    })
}

pub(super) fn destination(text: &str) -> Result<Destination, ValueError> {
    let forms = "write `response`, `stdout`, `topic:NAME` or `gs://BUCKET/PREFIX/`";
    match text {
        "response" => return Ok(Destination::Response),
        "stdout" => return Ok(Destination::Stdout),
        _ => {}
    }
    if let Some(topic) = text.strip_prefix("topic:") {
        return Ok(Destination::Topic(topic.to_owned()));
    }
    let Some(path) = text.strip_prefix("gs://") else {
        let named = text.rsplit_once("/topics/").map(|(_, topic)| topic);
        return Err(match named {
            Some(topic) => ValueError::new("a declaration names no project").help(format!("write `topic:{topic}`")),
            None => ValueError::new("not a destination").help(forms),
        });
    };
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    bucket_name(bucket)?;
    if !prefix.is_empty() && !prefix.ends_with('/') {
        return Err(ValueError::new("a prefix ends with `/`").help(format!("write `{text}/`")));
    }
    Ok(Destination::Bucket { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
}

/// `gs://BUCKET/PREFIX/`: bucket and prefix.
pub(super) fn ledger(text: &str) -> Result<(String, String), ValueError> {
    if text.starts_with("gs://")
        && let Destination::Bucket { bucket, prefix } = destination(text)?
    {
        return match prefix.len() {
            ..=384 => Ok((bucket, prefix)),
            _ => Err(ValueError::new("a prefix of a ledger has at most 384 bytes")),
        };
    }
    Err(ValueError::new("not a location for a ledger")
        .help("write `gs://BUCKET/PREFIX/`, such as \"gs://{project}-NAME/ledger/\""))
}

/// `NAME`, `NAME:VERSION`, or the same after `projects/P/secrets/`.
pub(super) fn secret(text: &str) -> Result<Secret, ValueError> {
    let (secret, version) = text.rsplit_once(':').unwrap_or((text, "latest"));
    let name = match secret.strip_prefix("projects/") {
        Some(rest) => rest.split_once("/secrets/").map_or("", |(_, name)| name),
        None => secret,
    };
    let named =
        (1..=255).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    let numbered = version == "latest" || version.parse::<u64>().is_ok_and(|version| version > 0);
    if named && numbered {
        return Ok(Secret { secret: secret.to_owned(), version: version.to_owned() });
    }
    Err(ValueError::new("not a reference to a secret")
        .help("write `NAME` or `NAME:VERSION`: the secret's name in Secret Manager, never its value"))
}
