//! Checks of the whole declaration: references that lead nowhere, and mistakes that lose messages.

mod tasks;

use std::time::Duration;

use toml::de::DeTable;

use super::error::{Log, suggest};
use super::lookup::Feed;
use super::read::locate;
use super::service::EVENTARC_RETENTION_SECONDS;
use super::types::{ARCHIVES, Delivery, PushTarget, Service, Topology};
use super::values::Destination;
use super::values::{DAY_SECONDS, human};

/// What Pub/Sub sets for a subscription that declares none.
const DEFAULT_ACK_DEADLINE: Duration = Duration::from_secs(10);

/// What Cloud Run sets for a service that declares none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(300);

/// Notes what is wrong in `topology`, read from `root`, for a program that has the tasks `program` beside those of the
/// project.
pub(super) fn validate(topology: &Topology, root: &DeTable<'_>, program: &[&str], log: &mut Log) {
    let mut check = Check { topology, root, program, log };
    for subscription in &topology.subscriptions {
        let what = format!("subscription `{}`", subscription.name);
        let path = ["subscriptions", &*subscription.name];
        check.topic(&subscription.topic, &what, &[&path[..], &["topic"]].concat());
        check.delivery(&subscription.delivery, &subscription.topic, &what, &path);
        if let Some(push) = &subscription.push {
            let path = [&path[..], &["push"]].concat();
            check.account(push.service_account.as_deref(), &what, &path);
            if let PushTarget::Service(name) = &push.target {
                check.service(name, &what, &[&path[..], &["service"]].concat());
            }
        }
    }
    for service in &topology.services {
        check.references(service);
        check.tasks(service);
        check.deadlines(service);
        check.filters(service);
        check.cycle(service);
        check.ledger(service);
    }
}

/// Notes which tasks `topology` names that neither it nor a program with the tasks `program` has.
pub(super) fn tasks(topology: &Topology, root: &DeTable<'_>, program: &[&str], log: &mut Log) {
    let mut check = Check { topology, root, program, log };
    topology.services.iter().for_each(|service| check.tasks(service));
}

struct Check<'t> {
    topology: &'t Topology,
    root: &'t DeTable<'t>,
    program: &'t [&'t str],
    log: &'t mut Log,
}

impl Check<'_> {
    fn references(&mut self, service: &Service) {
        let what = format!("service `{}`", service.name);
        let path = ["services", &*service.name];
        self.account(service.service_account.as_deref(), &what, &path);
        if let Some(trigger) = &service.trigger {
            let path = [&path[..], &["trigger"]].concat();
            let what = format!("trigger of {what}");
            self.topic(&trigger.topic, &what, &[&path[..], &["topic"]].concat());
            self.account(trigger.service_account.as_deref(), &what, &path);
            self.delivery(&trigger.delivery, &trigger.topic, &what, &path);
        }
        if let Some(topic) = &service.dead_letter_topic {
            self.dead_letter(topic, &what, &[&path[..], &["dead-letter-topic"]].concat());
        }
        for (index, result) in service.results.iter().enumerate() {
            if let Destination::Topic(topic) = result {
                let index = index.to_string();
                self.topic(topic, &what, &[&path[..], &["results", &index]].concat());
            }
        }
    }

    fn delivery(&mut self, delivery: &Delivery, topic: &str, what: &str, path: &[&str]) {
        let Some(dead_letter) = &delivery.dead_letter else {
            return;
        };
        let path = [path, &["dead-letter", "topic"]].concat();
        if dead_letter.topic == topic && !topic.is_empty() {
            let message = format!("dead letters of {what} go back to its own topic");
            let help = "name another topic, and a subscription that holds its messages".to_owned();
            self.add(&path, message, "they would be delivered and dead-lettered again without end", help);
        } else {
            self.dead_letter(&dead_letter.topic, what, &path);
        }
    }

    fn dead_letter(&mut self, topic: &str, what: &str, path: &[&str]) {
        let Topology { subscriptions, services, .. } = self.topology;
        let mut triggers = services.iter().filter_map(|service| service.trigger.as_ref());
        let read = subscriptions.iter().any(|subscription| subscription.topic == topic)
            || triggers.any(|trigger| trigger.topic == topic);
        if self.topic(topic, what, path) && !read {
            let message = format!("dead letters of {what} would be lost");
            let label = format!("no subscription reads `{topic}`");
            let help = format!("declare one, such as `[subscriptions.{topic}-subscription]`, `topic = \"{topic}\"`");
            self.add(path, message, label, help);
        }
    }

    /// Whether the topic is declared. An empty name was noted where it is missing.
    fn topic(&mut self, name: &str, what: &str, path: &[&str]) -> bool {
        let words = self.topology.topics.iter().map(|topic| &*topic.name);
        self.declared(name, "topic", "topics", what, path, words)
    }

    fn service(&mut self, name: &str, what: &str, path: &[&str]) {
        let words = self.topology.services.iter().map(|service| &*service.name);
        self.declared(name, "service", "services", what, path, words);
    }

    /// An email is an account from outside of the topology.
    fn account(&mut self, name: Option<&str>, what: &str, path: &[&str]) {
        let words = self.topology.service_accounts.iter().map(|account| &*account.name);
        if let Some(name) = name.filter(|name| !name.contains('@')) {
            let path = [path, &["service-account"]].concat();
            self.declared(name, "service account", "service accounts", what, &path, words);
        }
    }

    fn declared<'w>(
        &mut self,
        name: &str,
        one: &str,
        many: &str,
        what: &str,
        path: &[&str],
        words: impl Iterator<Item = &'w str> + Clone,
    ) -> bool {
        let declared = words.clone().any(|word| word == name);
        if !declared && !name.is_empty() {
            let message = format!("{what} names the {one} `{name}`, which is not declared");
            self.add(path, message, format!("no such {one}"), suggest(name, many, words));
        }
        declared
    }

    /// A push whose deadline ends before the service answers is redelivered while the first delivery is still being
    /// processed.
    fn deadlines(&mut self, service: &Service) {
        if service.timeout.is_none() && self.given(&["services", &service.name, "timeout"]) {
            return;
        }
        let timeout = service.timeout.unwrap_or(DEFAULT_TIMEOUT);
        for Feed { subscription, delivery, .. } in self.topology.feeds(&service.name) {
            let deadline = delivery.ack_deadline.unwrap_or(DEFAULT_ACK_DEADLINE);
            let (feed, path) = match subscription {
                Some(feed) => (format!("subscription `{}`", feed.name), vec!["subscriptions", &feed.name]),
                None => ("the trigger".to_owned(), vec!["services", &service.name, "trigger"]),
            };
            let path = [&path[..], &["ack-deadline"]].concat();
            let refused = delivery.ack_deadline.is_none() && self.given(&path);
            if deadline >= timeout || refused {
                continue;
            }
            let said = |given: bool| if given { "" } else { "by default " };
            let message = format!("{feed} gives up before service `{}` does", service.name);
            let label = format!(
                "the ack deadline is {}{}, the service's timeout {}{}",
                said(delivery.ack_deadline.is_some()),
                human(deadline.as_secs()),
                said(service.timeout.is_some()),
                human(timeout.as_secs()),
            );
            let help = if timeout.as_secs() > 600 {
                "lower `timeout` to at most 10m, the longest ack deadline, and `ack-deadline` to match".to_owned()
            } else {
                format!("write `ack-deadline = \"{}\"` or lower `timeout`", human(timeout.as_secs()))
            };
            self.add(&path, message, label, help);
        }
    }

    /// Routes that never see a message, and messages that no route was made for.
    fn filters(&mut self, service: &Service) {
        let feeds = self.topology.feeds(&service.name);
        let fed: Option<Vec<_>> = feeds.iter().map(|feed| feed.filter).collect();
        let fed = fed.filter(|fed| !fed.is_empty());
        for (index, route) in service.routes.iter().enumerate() {
            let path = ["services", &*service.name, "routes", &index.to_string(), "filter"];
            let what = format!("route {} of service `{}`", index + 1, service.name);
            let earlier = service.routes[..index].iter().position(|r| r.filter == route.filter);
            if let Some(earlier) = earlier {
                let label = format!("route {} takes the same messages before it", earlier + 1);
                self.add(&path, format!("{what} takes no message"), label, "remove one of them".to_owned());
            } else if let Some(fed) = &fed
                && !fed.iter().any(|filter| filter.overlaps(&route.filter))
            {
                let label = "every subscription that feeds the service filters them out";
                let help = "change this filter or the subscription's".to_owned();
                self.add(&path, format!("{what} takes no message"), label, help);
            }
        }
        if service.routes.is_empty() || service.task.is_some() {
            return;
        }
        for Feed { subscription, filter, .. } in feeds {
            let (Some(subscription), Some(filter)) = (subscription, filter) else {
                continue;
            };
            if service.routes.iter().any(|route| route.filter.overlaps(filter)) {
                continue;
            }
            let message = format!(
                "service `{}` has no route for what subscription `{}` delivers",
                service.name, subscription.name
            );
            let label = "contradicts the filter of every route";
            let help = "add a route, or `task = \"…\"` for messages that no route takes".to_owned();
            self.add(&["subscriptions", &subscription.name, "filter"], message, label, help);
        }
    }

    /// Finds results, or rejected messages, that reach their service again, and notes each loop once, at its first
    /// service.
    ///
    /// A depth-first search from that service over the services that consume a topic. `ends` says whether a service
    /// with a hop limit is on the path: it ends the loops that its results are part of, but what it rejects goes on to
    /// its dead-letter topic. `seen` keeps that flag, since a service is worth a second visit if the first was on a
    /// path that ends.
    fn cycle(&mut self, start: &Service) {
        let services = &self.topology.services;
        let index = |service: &Service| services.iter().position(|other| other.name == service.name);
        let first = index(start);
        let mut open = vec![(start, vec![&*start.name], false)];
        let mut seen: Vec<(&str, bool)> = Vec::new();
        while let Some((service, path, ends)) = open.pop() {
            let results = service.results.iter().filter_map(|result| match result {
                Destination::Topic(topic) => Some((topic, ends || service.hop_limit.is_some())),
                _ => None,
            });
            for (topic, ends) in results.chain(service.dead_letter_topic.iter().map(|topic| (topic, ends))) {
                let next = services
                    .iter()
                    .filter(|next| self.topology.feeds(&next.name).iter().any(|feed| feed.topic == topic));
                for next in next {
                    let path = [&path[..], &[&**topic, &*next.name]].concat();
                    if next.name == start.name && !ends {
                        let message = format!("messages of service `{}` can loop without end", start.name);
                        let label = path.join(" → ");
                        let help = match start.hop_limit {
                            None => "add `hop-limit = 5` to a service of the loop, or break the loop",
                            Some(_) => "break the loop: rejected messages stay in it whatever the hop limit",
                        };
                        return self.add(&["services", &start.name], message, label, help.to_owned());
                    }
                    // A loop is noted once: from its first service.
                    if index(next) > first && !seen.contains(&(&*next.name, ends)) {
                        seen.push((&next.name, ends));
                        open.push((next, path, ends));
                    }
                }
            }
        }
    }

    /// A ledger that forgets too early, or whose expiry would delete objects that are not its own.
    fn ledger(&mut self, service: &Service) {
        let Some(ledger) = &service.ledger else { return };
        let what = format!("the ledger of service `{}`", service.name);
        let path = ["services", &*service.name, "ledger"];
        let kept = self.longest_kept();
        if ledger.retention <= kept {
            let days = kept.as_secs() / DAY_SECONDS + 1;
            let label = format!(
                "messages are kept for {}, its entries for {}",
                human(kept.as_secs()),
                human(ledger.retention.as_secs())
            );
            let at = ["services", &*service.name, "ledger-retention"];
            let at = if self.given(&at) { at } else { path };
            self.add(
                &at,
                format!("{what} forgets messages that can still come"),
                label,
                format!("write `ledger-retention = \"{days}d\"`"),
            );
        }
        let archive = self.topology.archive.as_ref().filter(|archive| archive.bucket == ledger.bucket);
        if archive.is_none() {
            let at = ["services", &*service.name, "ledger-retention"];
            if self.given(&at) {
                let label = "only the archive's bucket gets a rule that deletes entries";
                let help = format!("remove it, and have `{}` delete objects by their age itself", ledger.bucket);
                self.add(&at, format!("`ledger-retention` of service `{}` has no effect", service.name), label, help);
            }
            return;
        }
        let results = self.topology.services.iter().flat_map(|service| &service.results);
        let results = results.filter_map(|result| match result {
            Destination::Bucket { bucket, prefix } if *bucket == ledger.bucket => Some(prefix.as_str()),
            _ => None,
        });
        let meets = |other: &&str| other.starts_with(&ledger.prefix) || ledger.prefix.starts_with(*other);
        if let Some(other) = std::iter::once(ARCHIVES).chain(results).find(meets) {
            let label = format!("`{other}` of the same bucket would be deleted with old entries, or taken for them");
            let help = "give the ledger a prefix of its own, such as `ledger/`".to_owned();
            self.add(&path, format!("{what} shares its prefix with other objects"), label, help);
        }
    }

    /// The longest time for which anything keeps messages.
    fn longest_kept(&self) -> Duration {
        let Topology { topics, subscriptions, services, .. } = self.topology;
        let kept = |delivery: &Delivery, default| delivery.retention.unwrap_or(Duration::from_secs(default));
        let topics = topics.iter().filter_map(|topic| topic.retention);
        let subscriptions = subscriptions.iter().map(|subscription| kept(&subscription.delivery, 7 * DAY_SECONDS));
        let triggers = services.iter().filter_map(|service| service.trigger.as_ref());
        let triggers = triggers.map(|trigger| kept(&trigger.delivery, EVENTARC_RETENTION_SECONDS));
        topics.chain(subscriptions).chain(triggers).max().unwrap_or_default()
    }

    fn add(&mut self, path: &[&str], message: String, label: impl Into<String>, help: String) {
        self.log.add(locate(self.root, path).0, message, label, help);
    }

    /// Whether the file says something there, even if it was refused.
    fn given(&self, path: &[&str]) -> bool {
        locate(self.root, path).1
    }
}
