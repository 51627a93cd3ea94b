//! Points in time, as numbers that tests can choose.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;

/// Microseconds since 1970. Within one process they never go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// Later than everything that happens.
    pub const NEVER: Self = Self(u64::MAX);

    /// The time this many microseconds after the beginning of 1970.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// The time this much later, at most [`Time::NEVER`].
    pub fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)))
    }

    /// How long ago `earlier` was; zero if it is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Rounded down to milliseconds, as Pub/Sub gives publish times.
    pub(super) fn in_millis(self) -> Self {
        Self(self.0 / 1000 * 1000)
    }

    pub(super) fn to_proto(self) -> prost_types::Timestamp {
        let (seconds, micros) = (self.0 / 1_000_000, self.0 % 1_000_000);
        let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
        prost_types::Timestamp { seconds, nanos: i32::try_from(micros * 1000).unwrap_or(0) }
    }

    pub(super) fn from_proto(time: &prost_types::Timestamp) -> Self {
        let micros = i128::from(time.seconds) * 1_000_000 + i128::from(time.nanos / 1000);
        Self(u64::try_from(micros.max(0)).unwrap_or(u64::MAX))
    }

    /// As RFC 3339 in UTC, with as many decimals of the second as it has.
    pub(super) fn to_rfc3339(self) -> String {
        let micros = i64::try_from(self.0).unwrap_or(i64::MAX);
        Timestamp::from_microsecond(micros).unwrap_or(Timestamp::MAX).to_string()
    }
}

/// A clock that shows the wall clock's time at its start, and from then on follows the monotonic clock.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    epoch: Duration,
}

impl Clock {
    pub(super) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { start: Instant::now(), epoch }
    }

    pub(super) fn now(&self) -> Time {
        Time::default().after(self.epoch + self.start.elapsed())
    }

    /// The monotonic clock's instant at this time; `None` for [`Time::NEVER`].
    pub(super) fn instant(&self, time: Time) -> Option<Instant> {
        if time == Time::NEVER {
            return None;
        }
        self.start.checked_add(Duration::from_micros(time.0).saturating_sub(self.epoch))
    }
}
