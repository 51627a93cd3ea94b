//! Google's own clients, which send enums as numbers and read operations as typed messages.

use std::time::Duration;

use deploy::cloud::Api;
use google_cloud_api_serviceusage_v1::client::ServiceUsage;
use google_cloud_auth::credentials::anonymous;
use google_cloud_eventarc_v1::client::Eventarc;
use google_cloud_eventarc_v1::model as eventarc;
use google_cloud_gax::exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder};
use google_cloud_iam_admin_v1::client::Iam;
use google_cloud_iam_admin_v1::model::ServiceAccount;
use google_cloud_lro::Poller;
use google_cloud_pubsub::client::{SchemaService, TopicAdmin};
use google_cloud_pubsub::model::Topic;
use google_cloud_resourcemanager_v3::client::Projects;
use google_cloud_run_v2::client::Services;
use google_cloud_run_v2::model::{self as run, IngressTraffic};
use google_cloud_wkt::FieldMask;
use tests::Behaviour;

use super::rig_as;

fn soon() -> ExponentialBackoff {
    let soon = Duration::from_millis(1);
    ExponentialBackoffBuilder::new().with_initial_delay(soon).with_maximum_delay(soon).build().unwrap()
}

#[tokio::test]
async fn googles_clients_deploy() {
    let behaviour = Behaviour { account_lag: 0, enabled: Behaviour::default().enabled, ..Behaviour::old_project() };
    let Some(rig) = rig_as(behaviour) else { return };
    let google = &rig.google;
    let project = format!("projects/{}", google.project());
    let location = format!("{project}/locations/{}", google.region());
    macro_rules! client {
        ($client:ident, $api:ident) => {
            $client::builder()
                .with_endpoint(google.url(Api::$api, ""))
                .with_credentials(anonymous::Builder::new().build())
        };
    }

    let usage = client!(ServiceUsage, ServiceUsage).with_polling_backoff_policy(soon()).build().await.unwrap();
    let all = Api::ALL.map(Api::service);
    let enabled = usage.batch_enable_services().set_parent(&project).set_service_ids(all).poller().until_done().await;
    assert_eq!(enabled.unwrap().services.len(), all.len());
    let projects = client!(Projects, ResourceManager).build().await.unwrap();
    let found = projects.get_project().set_name(&project).send().await.unwrap();
    assert_eq!(found.name, format!("projects/{}", google.project_number()));

    let iam = client!(Iam, Iam).build().await.unwrap();
    let account = ServiceAccount::new().set_display_name("Runs it");
    let account =
        iam.create_service_account().set_name(&project).set_account_id("runtime").set_service_account(account);
    let account = account.send().await.unwrap().email;

    let topics = client!(TopicAdmin, PubSub).build().await.unwrap();
    let topic = topics.create_topic().set_name(format!("{project}/topics/work")).send().await.unwrap();
    // The client of that crate which has these calls takes every resource of Pub/Sub.
    let policies = client!(SchemaService, PubSub).build().await.unwrap();
    let mut policy = policies.get_iam_policy().set_resource(&topic.name).send().await.unwrap();
    let mut binding = policy.bindings.pop().unwrap_or_default();
    binding = binding.set_role("roles/pubsub.publisher").set_members([format!("serviceAccount:{account}")]);
    policy.bindings.push(binding);
    let set = policies.set_iam_policy().set_resource(&topic.name).set_policy(policy.clone());
    assert_eq!(set.send().await.unwrap().bindings.len(), 1);
    let stale = policies.set_iam_policy().set_resource(&topic.name).set_policy(policy).send().await.unwrap_err();
    assert_eq!(stale.http_status_code(), Some(409), "{stale}");
    let kept =
        Topic::new().set_name(&topic.name).set_message_retention_duration(google_cloud_wkt::Duration::clamp(86400, 0));
    let mask = FieldMask::default().set_paths(["message_retention_duration"]);
    topics.update_topic().set_topic(kept).set_update_mask(mask).send().await.unwrap();

    let services = client!(Services, Run).with_polling_backoff_policy(soon()).build().await.unwrap();
    let template = run::RevisionTemplate::new()
        .set_service_account(&account)
        .set_containers([run::Container::new().set_image("scratch")]);
    let service = run::Service::new().set_ingress(IngressTraffic::InternalOnly).set_template(template);
    let create = services.create_service().set_parent(&location).set_service_id("s").set_service(service);
    let made = create.poller().until_done().await.unwrap();
    assert_eq!(made.ingress, IngressTraffic::InternalOnly);
    let mask = FieldMask::default().set_paths(["template.max_instance_request_concurrency"]);
    let changed = run::RevisionTemplate::new().set_max_instance_request_concurrency(8);
    let changed = run::Service::new().set_name(&made.name).set_etag(&made.etag).set_template(changed);
    let changed =
        services.update_service().set_service(changed).set_update_mask(mask).poller().until_done().await.unwrap();
    assert_eq!(changed.template.as_ref().unwrap().max_instance_request_concurrency, 8);
    assert_eq!(changed.template.unwrap().service_account, account);

    let triggers = client!(Eventarc, Eventarc).with_polling_backoff_policy(soon()).build().await.unwrap();
    let destination = eventarc::CloudRun::new().set_service("s").set_region(google.region()).set_path("/");
    let filter = eventarc::EventFilter::new().set_attribute("type");
    let filter = filter.set_value("google.cloud.pubsub.topic.v1.messagePublished");
    let trigger = eventarc::Trigger::new()
        .set_destination(eventarc::Destination::new().set_cloud_run(destination))
        .set_event_filters([filter])
        .set_service_account(&account)
        .set_transport(eventarc::Transport::new().set_pubsub(eventarc::Pubsub::new().set_topic(&topic.name)));
    let create = triggers.create_trigger().set_parent(&location).set_trigger_id("t").set_trigger(trigger);
    let made = create.poller().until_done().await.unwrap();
    assert!(made.transport.unwrap().pubsub().unwrap().subscription.contains("/eventarc-"));

    triggers.delete_trigger().set_name(&made.name).poller().until_done().await.unwrap();
    services.delete_service().set_name(format!("{location}/services/s")).poller().until_done().await.unwrap();
    iam.delete_service_account().set_name(format!("{project}/serviceAccounts/{account}")).send().await.unwrap();
    topics.delete_topic().set_topic(&topic.name).send().await.unwrap();
    assert_eq!(google.violations(), Vec::<String>::new());
}
