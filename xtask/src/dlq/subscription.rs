//! The subscription that holds the dead letters.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::flags::DeadLetters;
use crate::pubsub_client::PubSubClient;

/// The full name of the given subscription, or of the only declared pull subscription of a dead-letter topic.
///
/// # Errors
/// None is given, and the topology declares none or several.
pub(super) fn subscription(arguments: &DeadLetters, pubsub: &PubSubClient) -> Result<String> {
    if let Some(name) = &arguments.subscription {
        return Ok(pubsub.subscription(name));
    }
    let topology = &pubsub.topology;
    let rejected = topology.services.iter().filter_map(|service| service.dead_letter_topic.as_deref());
    let triggers = topology.services.iter().filter_map(|service| service.trigger.as_ref());
    let deliveries = triggers.map(|trigger| &trigger.delivery);
    let deliveries = deliveries.chain(topology.subscriptions.iter().map(|subscription| &subscription.delivery));
    let undelivered = deliveries.filter_map(|delivery| delivery.dead_letter.as_ref()).map(|dead| dead.topic.as_str());
    let topics: BTreeSet<&str> = rejected.chain(undelivered).collect();
    let holds = topology.subscriptions.iter().filter(|subscription| {
        topics.contains(subscription.topic.as_str()) && subscription.push.is_none() && subscription.filter.is_none()
    });
    let names: Vec<&str> = holds.map(|subscription| subscription.name.as_str()).collect();
    match names[..] {
        [name] => Ok(pubsub.subscription(name)),
        [] => {
            bail!("the topology declares no pull subscription of a dead-letter topic; name one with --subscription")
        }
        _ => bail!(
            "the topology declares several subscriptions of dead-letter topics: {}; name one with --subscription",
            names.join(", ")
        ),
    }
}
