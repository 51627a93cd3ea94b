//! Cloud Run services.

use futures_util::FutureExt;
use google_cloud_gax::paginator::ItemPaginator;
use google_cloud_iam_v1::model::Policy;
use google_cloud_lro::Poller;
use google_cloud_run_v2::client::{Revisions, Services};
use google_cloud_run_v2::model::{Revision, Service};
use serde_json::Value;

use super::calls::{Call, Calls, Update};
use super::client::{build_client, collect_pages, mask, model, requested_version, split, value};
use super::error::CloudError;
use super::settings::Settings;
use crate::resources::{self, Api, Context};

/// Cloud Run, for what a plan does not say.
#[derive(Debug)]
pub struct Run {
    services: Services,
    revisions: Revisions,
}

impl Run {
    pub(super) async fn new(settings: &Settings) -> Result<Self, CloudError> {
        Ok(Self {
            services: build_client!(Services, settings, Api::Run),
            revisions: build_client!(Revisions, settings, Api::Run),
        })
    }

    /// The archives that a service's revisions were made from, `BUCKET/OBJECT`; first the one that was deployed for the
    /// first time last, so that going back to an archive does not make it newer.
    ///
    /// # Errors
    /// The call failed.
    pub async fn archives(&self, service: &str) -> Result<Vec<String>, CloudError> {
        let mut items = self.revisions.list_revisions().set_parent(service).by_item();
        let mut all: Vec<(Option<google_cloud_wkt::Timestamp>, String)> = Vec::new();
        while let Some(item) = items.next().await {
            let revision: Revision = item?;
            if let Some((bucket, object)) = resources::source(&value(&revision)?) {
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
}

impl Calls for Run {
    fn read<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        async move { readable(&self.services.get_service().set_name(name).send().await?) }.boxed()
    }

    fn list<'a>(&'a self, at: &'a Context) -> Call<'a, Vec<Value>> {
        let request = self.services.list_services().set_parent(at.regional_parent());
        async move { collect_pages!(request.by_item(), readable) }.boxed()
    }

    fn create<'a>(&'a self, at: &'a Context, name: &'a str, body: Value) -> Call<'a, ()> {
        async move {
            let (parent, id) = split(name, "/services/", "service")?;
            let mut body = body;
            body["template"]["revision"] = at.revision(id, 0).into();
            let service: Service = model(body)?;
            let request = self.services.create_service().set_parent(parent).set_service_id(id).set_service(service);
            request.poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }

    /// With a mask that covers the template Cloud Run makes a revision, which needs a name of its own; with another
    /// mask it makes none. <https://cloud.google.com/run/docs/reference/rest/v2/projects.locations.services/patch>
    fn update<'a>(&'a self, at: &'a Context, update: Update<'a>) -> Call<'a, ()> {
        async move {
            let mut body = update.body;
            if body.get("template").is_some() {
                let (_, id) = split(update.name, "/services/", "service")?;
                let generation = update.found["generation"].as_str().and_then(|text| text.parse().ok()).unwrap_or(0);
                body["template"]["revision"] = at.revision(id, generation).into();
            }
            let request = self.services.update_service().set_service(model::<Service>(body)?);
            request.set_update_mask(mask(update.changes)).poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }

    fn delete<'a>(&'a self, name: &'a str) -> Call<'a, ()> {
        async move {
            self.services.delete_service().set_name(name).poller().until_done().await?;
            Ok(())
        }
        .boxed()
    }

    fn read_policy<'a>(&'a self, _: &'a Context, name: &'a str) -> Call<'a, Value> {
        let request = self.services.get_iam_policy().set_resource(name).set_options(requested_version());
        async move { value(&request.send().await?) }.boxed()
    }

    fn write_policy<'a>(&'a self, _: &'a Context, name: &'a str, policy: Value) -> Call<'a, ()> {
        async move {
            self.services.set_iam_policy().set_resource(name).set_policy(model::<Policy>(policy)?).send().await?;
            Ok(())
        }
        .boxed()
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
