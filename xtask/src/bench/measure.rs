//! What all measurements share.

use std::io::IsTerminal;

/// Says on a terminal what is being done.
pub(super) fn progress(what: impl std::fmt::Display) {
    if std::io::stderr().is_terminal() {
        eprintln!("{what} …");
    }
}

/// The middle value, or the mean of the two in the middle; 0 of none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
