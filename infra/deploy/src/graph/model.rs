//! What is drawn: the nodes of a topology, and the lines between them.

use infra::topology::{Delivery, Destination, Expiry, PushTarget, Service, Subscription, Topology, Trigger, human};

/// What is drawn.
pub(super) struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// What is declared and not drawn.
    pub(super) notes: Vec<String>,
}

pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) lines: Vec<Line>,
    /// The topic that it stands beneath.
    pub(super) beneath: Option<usize>,
    /// Whether it is for dead letters.
    pub(super) dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Topic,
    Pull,
    Push,
    Trigger,
    Service,
    Bucket,
}

/// A line of text in a node.
pub(super) enum Line {
    Plain(String),
    /// Which messages pass.
    Filter(String),
    /// The filter of messages, and their task.
    Route(String, String),
    /// The task of every other message.
    Otherwise(String),
}

pub(super) struct Edge {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) dead: bool,
}

impl Kind {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Topic => "topic",
            Self::Pull => "pull subscription",
            Self::Push => "push subscription",
            Self::Trigger => "Eventarc trigger",
            Self::Service => "Cloud Run service",
            Self::Bucket => "bucket",
        }
    }
}

impl Graph {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut graph = Self { nodes: Vec::new(), edges: Vec::new(), notes: Vec::new() };
        for topic in &topology.topics {
            let lines = topic.retention.map(|kept| Line::Plain(format!("kept {}", human(kept.as_secs()))));
            let node = graph.add(Kind::Topic, &topic.name, lines.into_iter().collect());
            graph.nodes[node].dead = holds_dead_letters(topology, &topic.name);
        }
        for service in &topology.services {
            graph.add(Kind::Service, &service.name, service_lines(service));
        }
        for service in &topology.services {
            if let Some(trigger) = &service.trigger {
                graph.trigger(service, trigger);
            }
            graph.results(service);
        }
        for subscription in &topology.subscriptions {
            graph.subscription(subscription);
        }
        let name = topology.environment.iter().map(|name| format!("environment {name}"));
        let archive = topology.archive.iter().map(|archive| format!("archives in gs://{}", archive.bucket));
        let idle = topology.service_accounts.iter().filter(|account| !uses(topology, &account.name));
        let idle = idle.map(|account| format!("unused account {}", account.name));
        graph.notes = name.chain(archive).chain(idle).collect();
        graph
    }

    fn add(&mut self, kind: Kind, name: &str, lines: Vec<Line>) -> usize {
        self.nodes.push(Node { kind, name: name.to_owned(), lines, beneath: None, dead: false });
        self.nodes.len() - 1
    }

    fn edge(&mut self, from: usize, to: Option<usize>, dead: bool) {
        if let Some(to) = to {
            self.edges.push(Edge { from, to, dead });
        }
    }

    fn find(&self, kind: Kind, name: &str) -> Option<usize> {
        self.nodes.iter().position(|node| node.kind == kind && node.name == name)
    }

    fn trigger(&mut self, service: &Service, trigger: &Trigger) {
        let mut lines = vec![Line::Plain("every message".to_owned())];
        lines.extend(delivery_lines(&trigger.delivery));
        lines.extend(trigger.service_account.iter().map(|account| Line::Plain(format!("calls as {account}"))));
        let node = self.add(Kind::Trigger, &service.name, lines);
        if let Some(topic) = self.find(Kind::Topic, &trigger.topic) {
            self.edge(topic, Some(node), false);
        }
        self.edge(node, self.find(Kind::Service, &service.name), false);
        self.dead_letters(node, &trigger.delivery);
    }

    fn subscription(&mut self, subscription: &Subscription) {
        let service = match subscription.push.as_ref().map(|push| &push.target) {
            Some(PushTarget::Service(name)) => self.find(Kind::Service, name),
            _ => None,
        };
        let kind = if subscription.push.is_some() { Kind::Push } else { Kind::Pull };
        let node = self.add(kind, &subscription.name, subscription_lines(subscription));
        let topic = self.find(Kind::Topic, &subscription.topic);
        if service.is_some() {
            if let Some(topic) = topic {
                self.edge(topic, Some(node), false);
            }
            self.edge(node, service, false);
        } else if let Some(topic) = topic {
            self.nodes[node].beneath = Some(topic);
            self.nodes[node].dead = self.nodes[topic].dead;
        }
        self.dead_letters(node, &subscription.delivery);
    }

    fn dead_letters(&mut self, from: usize, delivery: &Delivery) {
        if let Some(dead_letter) = &delivery.dead_letter {
            self.edge(from, self.find(Kind::Topic, &dead_letter.topic), true);
        }
    }

    fn results(&mut self, service: &Service) {
        let Some(from) = self.find(Kind::Service, &service.name) else { return };
        for result in &service.results {
            let to = match result {
                Destination::Topic(topic) => self.find(Kind::Topic, topic),
                Destination::Bucket { bucket, prefix } => {
                    let name = format!("gs://{bucket}/{prefix}");
                    let known = self.find(Kind::Bucket, &name);
                    Some(known.unwrap_or_else(|| self.add(Kind::Bucket, &name, Vec::new())))
                }
                Destination::Response | Destination::Stdout => None,
            };
            self.edge(from, to, false);
        }
        if let Some(topic) = &service.dead_letter_topic {
            self.edge(from, self.find(Kind::Topic, topic), true);
        }
    }
}

fn holds_dead_letters(topology: &Topology, topic: &str) -> bool {
    let triggers = topology.services.iter().filter_map(|service| service.trigger.as_ref());
    let deliveries = triggers.map(|trigger| &trigger.delivery);
    let mut deliveries = deliveries.chain(topology.subscriptions.iter().map(|subscription| &subscription.delivery));
    deliveries.any(|delivery| delivery.dead_letter.as_ref().is_some_and(|dead| dead.topic == topic))
        || topology.services.iter().any(|service| service.dead_letter_topic.as_deref() == Some(topic))
}

fn uses(topology: &Topology, account: &str) -> bool {
    let services = topology.services.iter();
    let callers = services.clone().filter_map(|service| service.trigger.as_ref()?.service_account.as_deref());
    let pushes = topology.subscriptions.iter().filter_map(|subscription| subscription.push.as_ref());
    let pushes = pushes.filter_map(|push| push.service_account.as_deref());
    services.filter_map(|service| service.service_account.as_deref()).chain(callers).chain(pushes).any(|a| a == account)
}

fn service_lines(service: &Service) -> Vec<Line> {
    let route = |filter: &str, task: &str| Line::Route(filter.to_owned(), task.to_owned());
    let mut lines: Vec<_> = service.routes.iter().map(|r| route(&r.filter.to_string(), &r.task)).collect();
    lines.push(route("attributes:task", "as named"));
    lines.push(Line::Otherwise(service.task.as_deref().unwrap_or("embed").to_owned()));
    let answers = service.results.iter().filter_map(|result| match result {
        Destination::Response => Some("results in the answer"),
        Destination::Stdout => Some("results on standard output"),
        _ => None,
    });
    lines.extend(answers.map(|answer| Line::Plain(answer.to_owned())));
    let instances = match (service.min_instances, service.max_instances) {
        (Some(least), Some(most)) => Some(format!("{least} to {most} instances")),
        (Some(least), None) => Some(format!("{least} or more instances")),
        (None, Some(most)) => Some(format!("up to {most} instances")),
        (None, None) => None,
    };
    lines.extend(joined([
        service.cpu.map(|cpu| format!("{cpu} CPU")),
        service.memory.map(|memory| memory.to_string()),
        service.concurrency.map(|requests| format!("{requests} at once")),
    ]));
    lines.extend(joined([
        instances,
        service.timeout.map(|timeout| format!("{} timeout", human(timeout.as_secs()))),
        service.hop_limit.map(|hops| format!("at most {hops} hops")),
    ]));
    lines.extend(service.service_account.iter().map(|account| Line::Plain(format!("runs as {account}"))));
    lines
}

fn subscription_lines(subscription: &Subscription) -> Vec<Line> {
    let mut lines = Vec::new();
    match &subscription.filter {
        Some(filter) => lines.push(Line::Filter(filter.to_string())),
        None => lines.push(Line::Plain("every message".to_owned())),
    }
    if let Some(push) = &subscription.push {
        if let PushTarget::Endpoint(endpoint) = &push.target {
            lines.push(Line::Plain(format!("to {endpoint}")));
        }
        lines.extend(push.no_wrapper.filter(|bare| *bare).map(|_| Line::Plain("bare data, no wrapper".to_owned())));
    }
    lines.extend(delivery_lines(&subscription.delivery));
    let flag = |set: Option<bool>, text: &str| set.filter(|set| *set).map(|_| text.to_owned());
    lines.extend(joined([
        flag(subscription.ordering, "in order"),
        flag(subscription.exactly_once, "exactly once"),
        flag(subscription.retain_acked, "kept for replay"),
    ]));
    let account = subscription.push.as_ref().and_then(|push| push.service_account.as_ref());
    lines.extend(account.map(|account| Line::Plain(format!("calls as {account}"))));
    lines
}

fn delivery_lines(delivery: &Delivery) -> Vec<Line> {
    let expiry = delivery.expiry.and_then(|expiry| match expiry {
        Expiry::Never => None,
        Expiry::After(unused) => Some(format!("gone after {} unused", human(unused.as_secs()))),
    });
    let mut lines = joined([
        delivery.ack_deadline.map(|deadline| format!("ack in {}", human(deadline.as_secs()))),
        delivery.retention.map(|kept| format!("kept {}", human(kept.as_secs()))),
    ]);
    let retry = delivery.retry.map(|retry| {
        let [low, high] = [retry.min_backoff, retry.max_backoff].map(|bound| human(bound.as_secs()));
        format!("again after {low} to {high}")
    });
    let dead_letter = delivery.dead_letter.as_ref();
    let attempts = dead_letter.map(|dead_letter| format!("dead after {} attempts", dead_letter.max_attempts));
    lines.extend([expiry, retry, attempts].into_iter().flatten().map(Line::Plain));
    lines
}

/// Those of these that are declared, in one line.
fn joined<const N: usize>(parts: [Option<String>; N]) -> Vec<Line> {
    let parts: Vec<_> = parts.into_iter().flatten().collect();
    if parts.is_empty() { Vec::new() } else { vec![Line::Plain(parts.join(" · "))] }
}
