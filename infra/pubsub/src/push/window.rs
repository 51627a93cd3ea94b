//! How many pushes of a subscription may be in flight: slow start, fewer after nacks, a pause when nothing is
//! acknowledged.
//!
//! After <https://cloud.google.com/pubsub/docs/push#push_backoff>: the window grows by one with every acknowledgement,
//! so that it doubles in a round trip, and nacks halve it, at most once a round trip. A nack in a window of one makes a
//! pause of 100 ms, doubled with each further one up to 60 s, until something is acknowledged.

use std::time::Duration;

use crate::time::Time;

/// Well under the 1,024 connections that a function takes: a push that waits for one more connection would wait until
/// an idle one is closed.
const MAX_WINDOW: usize = 700;
const MIN_PAUSE: Duration = Duration::from_millis(100);
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// The window of one subscription.
#[derive(Debug)]
pub(super) struct Window {
    size: usize,
    in_flight: usize,
    /// The number of the last push that was sent.
    sent: u64,
    /// The number of the last push that was sent before the window was halved. Nacks of pushes up to it do not halve it
    /// again.
    halved_at: u64,
    /// Nacks in a row, in a window of one.
    nacks_in_a_row: u32,
    paused_until: Time,
}

impl Window {
    pub(super) fn new() -> Self {
        Self { size: 1, in_flight: 0, sent: 0, halved_at: 0, nacks_in_a_row: 0, paused_until: Time::default() }
    }

    /// How many more pushes may be sent now.
    pub(super) fn available(&self, now: Time) -> usize {
        if now < self.paused_until { 0 } else { self.size.saturating_sub(self.in_flight) }
    }

    /// When the pause ends; [`Time::NEVER`] if there is none.
    pub(super) fn resumes(&self, now: Time) -> Time {
        if now < self.paused_until { self.paused_until } else { Time::NEVER }
    }

    /// Ends the pause, if there is one.
    pub(super) fn resume(&mut self) {
        self.paused_until = Time::default();
        self.nacks_in_a_row = 0;
    }

    /// Counts one more push, and returns its number.
    pub(super) fn send(&mut self) -> u64 {
        self.in_flight += 1;
        self.sent += 1;
        self.sent
    }

    pub(super) fn acked(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.size = (self.size + 1).min(MAX_WINDOW);
        self.nacks_in_a_row = 0;
    }

    /// `pauses`: the subscription has no retry policy of its own.
    pub(super) fn nacked(&mut self, now: Time, number: u64, pauses: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if number <= self.halved_at {
            return;
        }
        if self.size == 1 && pauses {
            let factor = 1_u32.checked_shl(self.nacks_in_a_row).unwrap_or(u32::MAX);
            self.paused_until = now.after(MIN_PAUSE.saturating_mul(factor).min(MAX_PAUSE));
            self.nacks_in_a_row += 1;
        }
        self.size = (self.size / 2).max(1);
        self.halved_at = self.sent;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Time {
        Time::from_micros(millis * 1000)
    }

    #[test]
    fn it_doubles_in_a_round_trip_up_to_its_bound() {
        let mut window = Window::new();
        let mut rounds = Vec::new();
        for _ in 0..12 {
            let available = window.available(at(0));
            rounds.push(available);
            for _ in 0..available {
                window.send();
            }
            assert_eq!(window.available(at(0)), 0);
            (0..available).for_each(|_| window.acked());
        }
        assert_eq!(rounds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, MAX_WINDOW, MAX_WINDOW]);
    }

    #[test]
    fn refusals_of_one_round_trip_halve_it_once() {
        let mut window = Window::new();
        for _ in 0..15 {
            window.send();
            window.acked();
        }
        let numbers: Vec<u64> = (0..16).map(|_| window.send()).collect();
        numbers.iter().for_each(|&number| window.nacked(at(0), number, true));
        assert_eq!((window.available(at(0)), window.resumes(at(0))), (8, Time::NEVER));
        let number = window.send();
        window.nacked(at(0), number, true);
        assert_eq!(window.available(at(0)), 4);
    }

    #[test]
    fn an_endpoint_that_takes_nothing_is_left_alone_for_longer_and_longer() {
        let mut window = Window::new();
        let mut now = at(0);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            let number = window.send();
            window.nacked(now, number, true);
            assert_eq!(window.available(now), 0);
            let resumes = window.resumes(now);
            pauses.push(resumes.since(now).as_millis());
            now = resumes;
            assert_eq!(window.available(now), 1);
        }
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 51200, 60000, 60000]);
        let number = window.send();
        window.nacked(now, number, true);
        window.resume();
        assert_eq!((window.available(now), window.resumes(now)), (1, Time::NEVER));
        let number = window.send();
        window.nacked(now, number, true);
        assert_eq!(window.resumes(now).since(now).as_millis(), 100);
    }

    #[test]
    fn a_retry_policy_of_its_own_pauses_nothing() {
        let mut window = Window::new();
        let number = window.send();
        window.nacked(at(0), number, false);
        assert_eq!(window.available(at(0)), 1);
    }
}
