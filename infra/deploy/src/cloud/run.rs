//! Cloud Run services.

use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_gax::retry_policy::NeverRetry;
use google_cloud_iam_v1::model::Policy;
use google_cloud_lro::Poller;
use google_cloud_run_v2::client::{Revisions, Services};
use google_cloud_run_v2::model::{Revision, Service};
use serde_json::Value;

use super::error::{CloudError, Fault};
use super::google::{all, install, mask, model, requested_version, value};
use super::settings::{Api, Settings};
use crate::plan::{self, Change};

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

    /// Changes the fields of these changes, and no other: with a mask that covers the template Cloud Run makes a
    /// revision, which needs a name of its own, and without it none. `body` holds those fields as they shall be, and
    /// the etag, which guards against others.
    /// <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/patch>
    pub(super) async fn update(&self, body: Value, changes: &[Change], revision: &str) -> Result<(), CloudError> {
        let mut body = body;
        if body.get("template").is_some() {
            body["template"]["revision"] = revision.into();
        }
        let request = self.services.update_service().set_service(model::<Service>(body)?);
        request.set_update_mask(mask(changes)).poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), CloudError> {
        self.services.delete_service().set_name(name).poller().until_done().await?;
        Ok(())
    }

    pub(super) async fn read_policy(&self, name: &str) -> Result<Value, CloudError> {
        let request = self.services.get_iam_policy().set_resource(name).set_options(requested_version());
        value(&request.send().await?)
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
