//! Cloud Run services.

use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_v1::model::Policy;
use google_cloud_lro::Poller;
use google_cloud_run_v2::client::{Revisions, Services};
use google_cloud_run_v2::model::{Revision, Service};
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::google::{all, install, model, value};
use super::settings::{Api, Settings};
use crate::plan;

/// Fields that only the server writes.
/// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services#Service>
const OUTPUT_ONLY: [&str; 20] = [
    "uid",
    "generation",
    "createTime",
    "updateTime",
    "deleteTime",
    "expireTime",
    "creator",
    "lastModifier",
    "client",
    "clientVersion",
    "observedGeneration",
    "terminalCondition",
    "conditions",
    "latestReadyRevision",
    "latestCreatedRevision",
    "trafficStatuses",
    "uri",
    "urls",
    "reconciling",
    "threatDetectionEnabled",
];

/// Cloud Run, for what a plan does not say.
#[derive(Debug)]
pub struct Run {
    services: Services,
    revisions: Revisions,
}

impl Run {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self {
            services: install!(Services, settings, Api::Run),
            revisions: install!(Revisions, settings, Api::Run),
        })
    }

    pub(super) async fn read(&self, name: &str) -> Result<Value, CloudError> {
        readable(&self.services.get_service().set_name(name).send().await?)
    }

    pub(super) async fn list(&self, parent: &str) -> Result<Vec<Value>, CloudError> {
        all!(self.services.list_services().set_parent(parent).by_item(), readable)
    }

    /// The archives that a service's revisions were made from, `BUCKET/OBJECT`; first the one that was deployed for the first time
    /// last, so that going back to an archive does not make it newer.
    ///
    /// # Errors
    /// The call failed.
    pub async fn archives(&self, service: &str) -> Result<Vec<String>, CloudError> {
        let mut items = self.revisions.list_revisions().set_parent(service).by_item();
        let mut all: Vec<(Option<google_cloud_wkt::Timestamp>, String)> = Vec::new();
        while let Some(item) = items.next().await {
            let revision: Revision = item?;
            if let Some((bucket, object)) = plan::source(&value(&revision)?) {
                all.push((revision.create_time, format!("{bucket}/{object}")));
            }
        }
        all.sort_by(|a, b| a.0.partial_cmp(&b.0).unwrap_or(std::cmp::Ordering::Equal));
        let mut archives: Vec<String> = Vec::new();
        for (_, archive) in all {
            if !archives.contains(&archive) {
                archives.push(archive);
            }
        }
        archives.reverse();
        Ok(archives)
    }

    pub(super) async fn create(&self, name: &str, body: Value, revision: &str) -> Result<(), CloudError> {
        let wrong = || CloudError::new(Fault::Wrong, format!("`{name}` is no name of a service"));
        let (parent, id) = name.split_once("/services/").ok_or_else(wrong)?;
        let mut body = body;
        body["template"]["revision"] = revision.into();
        let service: Service = model(body)?;
        let request = self.services.create_service().set_parent(parent).set_service_id(id).set_service(service);
        request.poller().until_done().await?;
        Ok(())
    }

    /// Replaces a service with `body`, which is what was found and what is declared over it. Its etag guards against others.
    pub(super) async fn update(&self, name: &str, body: Value, revision: Option<&str>) -> Result<(), CloudError> {
        let mut body = body;
        if let Some(fields) = body.as_object_mut() {
            OUTPUT_ONLY.iter().for_each(|field| drop(fields.remove(*field)));
        }
        if let Some(revision) = revision {
            body["template"]["revision"] = revision.into();
        }
        let service = model::<Service>(body)?.set_name(name);
        self.services.update_service().set_service(service).poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), CloudError> {
        self.services.delete_service().set_name(name).poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn read_policy(&self, name: &str) -> Result<Value, CloudError> {
        value(&self.services.get_iam_policy().set_resource(name).send().await?)
    }

    pub(super) async fn write_policy(&self, name: &str, body: Value) -> Result<(), CloudError> {
        self.services.set_iam_policy().set_resource(name).set_policy(model::<Policy>(body)?).send().await?;
        Ok(())
    }
}

/// A service as JSON with the names of enumerations that are compared, where the client writes numbers.
fn readable(service: &Service) -> Result<Value, CloudError> {
    let mut shown = value(service)?;
    if let Some(name) = service.ingress.name() {
        shown["ingress"] = name.into();
    }
    for (index, target) in service.traffic.iter().enumerate() {
        if let Some(name) = target.r#type.name() {
            shown["traffic"][index]["type"] = name.into();
        }
    }
    if let Some(name) = service.terminal_condition.as_ref().and_then(|condition| condition.state.name()) {
        shown["terminalCondition"]["state"] = name.into();
    }
    Ok(shown)
}
