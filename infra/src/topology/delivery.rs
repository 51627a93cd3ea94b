//! What several sections share: filters, delivery and labels.

use std::collections::BTreeMap;
use std::time::Duration;

use super::error::Log;
use super::read::{Table, ValueError};
use super::types::{DeadLetter, Delivery, Expiry, Retry};
use super::values::{DAY_SECONDS, MINUTE_SECONDS, duration, human, label};
use crate::filter::Filter;

/// The filter of a subscription or route.
pub(super) fn filter(table: &mut Table<'_>, log: &mut Log) -> Option<Filter> {
    table.parsed("filter", log, |text| {
        let filter = Filter::parse(text).map_err(|error| ValueError {
            label: if text.len() > Filter::MAX_BYTES {
                format!("{} bytes, Pub/Sub allows {}", text.len(), Filter::MAX_BYTES)
            } else {
                format!("expected {}", error.expected)
            },
            help: text.is_empty().then(|| "leave the key out to take every message".to_owned()),
            part: (error.length > 0).then(|| error.position..error.position + error.length),
        })?;
        if filter.can_match() {
            return Ok(filter);
        }
        Err(ValueError::new("it contradicts itself: no message passes"))
    })
}

/// What a push or trigger shares with every subscription. `retention` is the platform's default, in seconds.
pub(super) fn delivery(table: &mut Table<'_>, retention: u64, log: &mut Log) -> Delivery {
    let delivery = Delivery {
        ack_deadline: table.parsed("ack-deadline", log, duration((10, 600), "Pub/Sub")),
        retention: table.parsed("retention", log, duration((10 * MINUTE_SECONDS, 31 * DAY_SECONDS), "Pub/Sub")),
        expiry: table.parsed("expiry", log, expiry),
        retry: retry(table, log),
        dead_letter: dead_letter(table, log),
    };
    let kept = delivery.retention.map_or(retention, |kept| kept.as_secs());
    if let Some(Expiry::After(expiry)) = delivery.expiry
        && expiry.as_secs() < kept
    {
        let message = format!("{} expires before its messages do", table.what);
        let label = format!("messages are kept for {}", human(kept));
        let help = "raise `expiry`, lower `retention`, or write `expiry = \"never\"`".to_owned();
        log.add(table.at_key("expiry"), message, label, help);
    }
    delivery
}

fn expiry(text: &str) -> Result<Expiry, ValueError> {
    if text == "never" {
        return Ok(Expiry::Never);
    }
    let after = duration((DAY_SECONDS, u64::MAX), "Pub/Sub")(text);
    after.map(Expiry::After).map_err(|wrong| match wrong.help {
        Some(_) => wrong.help("write `\"never\"` or a duration such as \"31d\""),
        None => wrong,
    })
}

fn retry(delivery: &mut Table<'_>, log: &mut Log) -> Option<Retry> {
    let mut table = delivery.table("retry", log)?;
    let mut backoff = |key, default| {
        let parsed = table.parsed(key, log, duration((0, 600), "Pub/Sub"));
        parsed.unwrap_or(Duration::from_secs(default))
    };
    let retry = Retry { min_backoff: backoff("min-backoff", 10), max_backoff: backoff("max-backoff", 600) };
    if retry.min_backoff > retry.max_backoff {
        let message = format!("{} has its bounds in reverse", table.what);
        let [low, high] = [retry.min_backoff, retry.max_backoff].map(|bound| human(bound.as_secs()));
        let label = format!("from {low} to {high}");
        log.add(table.at.clone(), message, label, "`min-backoff` is at most `max-backoff`".to_owned());
    }
    table.finish(log);
    Some(retry)
}

fn dead_letter(delivery: &mut Table<'_>, log: &mut Log) -> Option<DeadLetter> {
    let mut table = delivery.table("dead-letter", log)?;
    let dead_letter = DeadLetter {
        topic: table.required("topic", "declare the topic for dead letters", log).to_owned(),
        max_attempts: table.number("max-attempts", (5, 100), "Pub/Sub", log).unwrap_or(5),
    };
    table.finish(log);
    Some(dead_letter)
}

/// Resource labels.
pub(super) fn labels(table: &mut Table<'_>, key: &'static str, log: &mut Log) -> BTreeMap<String, String> {
    let labels = table.pairs(key, log, label);
    if labels.len() > 64 {
        let message = format!("too many labels of {}", table.what);
        log.add(table.at_key(key), message, "Google allows 64", None);
    }
    labels
}
