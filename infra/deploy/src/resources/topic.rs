//! Pub/Sub topics.

use serde_json::Map;

use super::desired::{Desired, put, seconds};
use super::export::{Block, Export, named, own_name};
use super::kind::{Api, Kind};
use super::resource::Resource;
use super::spec::{Mark, Permission, Spec};
use infra::topology::{Destination, Service};

pub(super) const SPEC: Spec = Spec {
    mark: Mark::Label,
    permissions: &[Permission::new("pubsub.topics.create", "roles/pubsub.admin")],
    export: Export::Resource(Block {
        resource: "google_pubsub_topic",
        name: own_name,
        arguments: named,
        fields: &[],
        depends_on: &[Kind::Api],
    }),
    ..Spec::new("topic", "topic", Api::PubSub)
};

impl Desired<'_> {
    pub(super) fn topics(&self) -> Vec<Resource> {
        let topics = self.topology.topics.iter().map(|topic| {
            let mut body = Map::from_iter([("labels".to_owned(), self.labels(&topic.labels))]);
            put(&mut body, "messageRetentionDuration", topic.retention.map(seconds));
            self.resource(Kind::Topic, &SPEC, self.context.topic(&topic.name), body.into())
        });
        topics.collect()
    }

    /// The topics that a service publishes to: results, and dead letters.
    pub(super) fn written_topics<'s>(&'s self, service: &'s Service) -> impl Iterator<Item = String> + 's {
        let results = service.results.iter().filter_map(|result| match result {
            Destination::Topic(topic) => Some(topic),
            _ => None,
        });
        results.chain(&service.dead_letter_topic).map(|topic| self.context.topic(topic))
    }
}
