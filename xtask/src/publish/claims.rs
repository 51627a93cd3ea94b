//! Claim checks: data that is too long for a message goes to a bucket, and the message names the object.

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use function::clients::{generation, write_once};
use function::payload;
use google_cloud_storage::client::Storage;
use infra::topology::Destination;

use super::input::NewMessage;
use crate::digest::sha256_hex;
use crate::pubsub_client::PubSubClient;

pub(super) struct Claims<'a> {
    pubsub: &'a PubSubClient,
    /// Connected for the first long message.
    storage: Option<Storage>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(pubsub: &'a PubSubClient) -> Self {
        Self { pubsub, storage: None }
    }

    /// Writes the data of a message to an object; returns the message without the data, with the claim check.
    pub(super) async fn put(&mut self, item: NewMessage) -> Result<NewMessage> {
        let bucket = self.bucket()?;
        let storage = match &mut self.storage {
            Some(storage) => storage,
            none => none.insert(self.pubsub.storage().await?),
        };
        let digest = sha256_hex(&item.data);
        let object = format!("payloads/{digest}");
        let uri = format!("gs://{bucket}/{object}");
        let bytes = item.data.len();
        let generation = write(storage, &bucket, &object, item.data).await;
        let generation =
            generation.with_context(|| format!("writing {bytes} bytes, too many for a message, to {uri}"))?;
        let mut attributes = item.attributes;
        attributes.insert(payload::URI.to_owned(), uri);
        attributes.insert(payload::GENERATION.to_owned(), generation.to_string());
        attributes.insert(payload::SHA256.to_owned(), digest);
        if attributes.len() > infra::limits::MAX_ATTRIBUTES {
            bail!("with the three of a claim check, the message has {} attributes", attributes.len());
        }
        Ok(NewMessage { data: Bytes::new(), attributes, ordering_key: item.ordering_key })
    }

    fn bucket(&self) -> Result<String> {
        let topology = &self.pubsub.topology;
        let results = topology.first_service().into_iter().flat_map(|service| &service.results);
        let results = results.filter_map(|result| match result {
            Destination::Bucket { bucket, .. } => Some(bucket.replace("{project}", &self.pubsub.project)),
            _ => None,
        });
        let archive = topology.archive.iter().map(|archive| archive.bucket(&self.pubsub.project));
        results.chain(archive).next().ok_or_else(|| {
            anyhow!(
                "a message is over 10 MB, and the topology declares no bucket for it: add a gs://BUCKET/PREFIX/ to the first \
                 service's results, or an [archive]"
            )
        })
    }
}

/// Writes an object named by its content, unless it exists; returns its generation.
async fn write(storage: &Storage, bucket: &str, object: &str, data: Bytes) -> Result<i64> {
    match write_once(storage, bucket, object, data, "application/octet-stream").await {
        Ok(Some(written)) => Ok(written),
        Ok(None) => generation(storage, bucket, object).await.context("it exists and cannot be read"),
        Err(error) => Err(error).context("check that the bucket exists and that you may write to it"),
    }
}
