//! What prevents a deployment and is not part of its topology: recognised by what Google says, with what to do about
//! it.

/// A cause of failure that neither another attempt nor a change of the topology's own resources removes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// There are no credentials on this machine.
    NoCredentials,
    /// The credentials of a user name no quota project.
    NoQuotaProject,
    /// The caller may not use the quota project that the credentials name.
    QuotaProjectDenied,
    /// The credentials have expired.
    LoginExpired,
    /// A Preview feature is asked of a service that declares another launch stage.
    LaunchStage,
    /// The project has no open billing account.
    Billing,
    /// Terms of service have to be accepted first.
    Terms,
    /// An organisation's policy allows members of its own domains alone.
    MemberDomains,
    /// Another organisation policy.
    OrganisationPolicy,
    /// A perimeter of VPC Service Controls.
    Perimeter,
    /// There is no such region, or the API is not there.
    Region,
    /// The project's share of processors, memory or instances in a region.
    Allocation,
}

use Obstacle::*;

/// What Google says of each. The first row that has a text of the message counts; upper and lower case are the same.
/// Reasons: <https://cloud.google.com/service-usage/docs/reference/rest/v1/ErrorReason> and `google.api.ErrorReason`.
const SIGNS: [(Obstacle, &[&str]); 12] = [
    // Of the client: it found no file of credentials, and no metadata server of Google Cloud answered.
    (NoCredentials, &["have not configured local credentials"]),
    (
        NoQuotaProject,
        // The numbers are those of the projects of gcloud's own clients, for which calls without a quota project count.
        &[
            "requires a quota project",
            "project 764086051850",
            "projects/764086051850",
            "project 32555940559",
            "projects/32555940559",
        ],
    ),
    (QuotaProjectDenied, &["user_project_denied", "does not have required permission to use project"]),
    (LoginExpired, &["invalid_rapt", "invalid_grant", "reauth related error"]),
    (LaunchStage, &["not supported in the declared launch stage"]),
    (
        Billing,
        &[
            "billing_disabled",
            "billing to be enabled",
            "billing must be enabled",
            "billing account for the owning project is disabled",
            "billing_not_open",
            "billing_not_found",
            "billing account for project",
            "accountdisabled",
        ],
    ),
    (Terms, &["accept terms of service", "tos_not_accepted"]),
    (
        MemberDomains,
        &[
            "iam.allowedpolicymemberdomains",
            "iam.managed.allowedpolicymembers",
            "do not belong to a permitted customer",
        ],
    ),
    (Perimeter, &["vpcservicecontrols", "vpc service controls", "prohibited by organization's policy"]),
    (OrganisationPolicy, &["constraints/", "organization policy", "org policy", "orgpolicy"]),
    (
        Allocation,
        &[
            "quota violated",
            "allocperprojectregion",
            "max instances must be set to",
            "maxscale may not exceed",
            "do not have quota",
            "total allowable cpu",
            "total allowable memory",
        ],
    ),
    (
        Region,
        &[
            "permission denied on 'locations/",
            "location_policy_violated",
            "is not a valid location",
            "location constraint is not valid",
            "unsupported location",
            "not available in region",
            "is not supported in region",
        ],
    ),
];

impl Obstacle {
    /// By what a service said: its message, and its details as text.
    pub(super) fn of(said: &str) -> Option<Self> {
        let said = said.to_lowercase();
        let row = SIGNS.iter().find(|(_, signs)| signs.iter().any(|sign| said.contains(sign)));
        row.map(|(obstacle, _)| *obstacle)
    }

    /// Whether it is about who calls, whatever is called.
    pub fn is_login(self) -> bool {
        matches!(self, NoCredentials | LoginExpired)
    }

    /// What to do, in a project and region.
    pub fn help(self, project: &str, region: &str) -> String {
        match self {
            NoCredentials => {
                "run `gcloud auth application-default login`, or set CLOUDSDK_AUTH_ACCESS_TOKEN_FILE to a \
                    file with an access token"
                    .to_owned()
            }
            NoQuotaProject => format!(
                "the credentials of `gcloud auth application-default login` name no quota project: run `gcloud auth \
                    application-default set-quota-project {project}`"
            ),
            QuotaProjectDenied => format!(
                "the credentials name a quota project that your account may not use: run `gcloud auth \
                    application-default set-quota-project {project}`, or ask for \
                    `roles/serviceusage.serviceUsageConsumer` there"
            ),
            LoginExpired => "the credentials have expired: run `gcloud auth application-default login`".to_owned(),
            LaunchStage => format!(
                "Cloud Run without a build, an archive on a base image, is in Preview, and this service declares a \
                    launch stage that excludes Preview features: allow them with `gcloud beta run services update \
                    SERVICE --region {region} --project {project}`, or deploy a container image, which needs no \
                    Preview"
            ),
            Billing => format!(
                "the project has no open billing account: run `gcloud billing projects link {project} \
                    --billing-account ID`, or open \
                    https://console.cloud.google.com/billing/linkedaccount?project={project}"
            ),
            Terms => {
                "accept the terms of service with the account that deploys, at https://console.cloud.google.com/terms"
                    .to_owned()
            }
            MemberDomains => format!(
                "the organisation policy `iam.allowedPolicyMemberDomains` admits members of its own domains alone: \
                    ask its administrator for an exception for project {project}, with the member that is named \
                    above; `gcloud org-policies describe iam.allowedPolicyMemberDomains --project {project} \
                    --effective` shows it"
            ),
            OrganisationPolicy => format!(
                "an organisation policy forbids it: ask its administrator for an exception for project {project}; \
                    `gcloud org-policies list --project {project}` shows what is set"
            ),
            Perimeter => format!(
                "project {project} is in a perimeter of VPC Service Controls: deploy from inside of it, or ask its \
                    administrator for an access level; the message has the identifier to ask with"
            ),
            Region => format!(
                "`{region}` is no region that this API has, or the project may not use it: choose another with \
                    `--region`; `gcloud run regions list --project {project}` shows them"
            ),
            Allocation => format!(
                "the project's quota in {region} is less than what the topology asks for: lower `max-instances`, \
                    `cpu` or `memory` of the service, choose another region, or ask for more at \
                    https://console.cloud.google.com/iam-admin/quotas?project={project}"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_what_google_says() {
        for (said, obstacle) in [
            (
                "Could not fetch an auth token to authenticate with Google Cloud. The most common reason for this problem \
                    is that you are not running in a Google Cloud Environment and you have not configured local credentials \
                    for development and testing.",
                NoCredentials,
            ),
            (
                "Your application is authenticating by using local Application Default Credentials. The \
                    run.googleapis.com API requires a quota project, which is not set by default.",
                NoQuotaProject,
            ),
            ("Cloud Run Admin API has not been used in project 764086051850 before or it is disabled.", NoQuotaProject),
            (
                "Caller does not have required permission to use project p. Grant the caller the \
                    roles/serviceusage.serviceUsageConsumer role",
                QuotaProjectDenied,
            ),
            (
                "The feature 'Sourcedeploy' is not supported in the declared launch stage on resource s. The launch \
                    stage annotation should be specified at least as BETA.",
                LaunchStage,
            ),
            ("This API method requires billing to be enabled. Please enable billing on project #1", Billing),
            ("The billing account for the owning project is disabled in state absent", Billing),
            (
                "Billing account for project '1' is not found. Billing must be enabled for activation of service(s)",
                Billing,
            ),
            (
                "One or more users named in the policy do not belong to a permitted customer, perhaps due to an \
                    organization policy.",
                MemberDomains,
            ),
            ("Operation denied by org policy: constraints/iam.disableServiceAccountCreation", OrganisationPolicy),
            ("'us-central1' violates constraint 'constraints/gcp.resourceLocations'", OrganisationPolicy),
            ("Request is prohibited by organization's policy. vpcServiceControlsUniqueIdentifier: x", Perimeter),
            ("Permission denied on 'locations/europe-west99' (or it may not exist).", Region),
            (
                "Max instances must be set to 5 or fewer to set the requested total CPU.\nQuota \
                    violated:\nCpuAllocPerProjectRegion requested: 60000 allowed: 20000",
                Allocation,
            ),
        ] {
            assert_eq!(Obstacle::of(said), Some(obstacle), "{said}");
        }
    }

    #[test]
    fn what_passes_or_is_the_topologys_own_is_none() {
        for said in [
            "Resource has been exhausted (e.g. check quota).",
            "Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute' of service \
                'run.googleapis.com'",
            "Cloud Run Admin API has not been used in project 123456789 before or it is disabled.",
            "Permission 'run.services.create' denied on resource 'projects/p/locations/europe-west1'",
            "The service is currently unavailable.",
        ] {
            assert_eq!(Obstacle::of(said), None, "{said}");
        }
    }
}
