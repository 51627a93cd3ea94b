//! IAM v1: service accounts, which are usable only a while after they were made.

use http::Method;
use serde_json::{Value, json};

use super::agent::pubsub_agent;
use super::call::{Answer, Call, Failure};
use super::json::{apply, etag, next, page, text};
use super::state::{PROJECT_NUMBER, State};

/// A service account.
#[derive(Debug)]
pub(super) struct Account {
    pub(super) value: Value,
    /// Uses that still fail.
    lag: u32,
}

impl State {
    /// Counts a use of an account by another API; whether it worked.
    pub(super) fn use_account(&mut self, email: &str) -> bool {
        if let Some(account) = self.accounts.get_mut(email) {
            let usable = account.lag == 0;
            account.lag = account.lag.saturating_sub(1);
            return usable;
        }
        if email == pubsub_agent() {
            return self.use_agent();
        }
        // Google's other own: the agents of its services and the default account of Compute Engine.
        let agent = email.strip_prefix(&format!("service-{PROJECT_NUMBER}@gcp-sa-"));
        agent.is_some_and(|rest| rest.ends_with(".iam.gserviceaccount.com")) || email == default_account()
    }

    pub(super) fn iam(&mut self, call: &Call) -> Answer {
        let target = call.target();
        match (call.method.as_str(), target.segments.as_slice(), target.verb) {
            ("POST", ["projects", _, "serviceAccounts"], None) => self.create_account(&call.body),
            ("GET", ["projects", _, "serviceAccounts"], None) => {
                page(call, "accounts", self.accounts.values().map(|account| account.value.clone()).collect())
            }
            (_, ["projects", _, "serviceAccounts", id], _) => {
                let found =
                    self.accounts.iter().find(|(email, account)| email == id || account.value["uniqueId"] == *id);
                let Some((email, _)) = found else { return Err(Failure::not_found(&target.segments.join("/"))) };
                self.account(call, &email.clone())
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    fn account(&mut self, call: &Call, email: &str) -> Answer {
        let resource = self.account_name(email);
        if let Some(answer) = self.iam_policy(call, &resource) {
            return answer;
        }
        let Some(account) = self.accounts.get_mut(email) else { return Err(Failure::not_found(&resource)) };
        match (&call.method, call.target().verb) {
            (&Method::GET, None) => Ok(account.value.clone()),
            (&Method::PATCH, None) => {
                let mask = text(&call.body, "updateMask");
                let paths: Vec<&str> = mask.split(',').filter(|path| !path.is_empty()).collect();
                let settable = |path: &&str| ["displayName", "display_name", "description"].contains(path);
                if paths.is_empty() || !paths.iter().all(settable) {
                    return Err(Failure::invalid("updateMask must name displayName or description."));
                }
                apply(Some(mask), &call.body["serviceAccount"], &mut account.value);
                account.value["etag"] = json!(etag());
                Ok(account.value.clone())
            }
            (&Method::DELETE, None) => {
                let id = account.value["uniqueId"].clone();
                self.accounts.remove(email);
                self.policies.remove(&resource);
                self.mark_deleted(email, text(&json!({"id": id}), "id"));
                Ok(json!({}))
            }
            _ => Err(Failure::unknown(call)),
        }
    }

    pub(super) fn account_name(&self, email: &str) -> String {
        format!("projects/{}/serviceAccounts/{email}", self.project)
    }

    fn create_account(&mut self, body: &Value) -> Answer {
        let id = text(body, "accountId");
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let valid = (6..=30).contains(&id.len())
            && id.starts_with(|c: char| c.is_ascii_lowercase())
            && !id.ends_with('-')
            && id.chars().all(plain);
        if !valid {
            return Err(Failure::invalid(format!(
                "The account ID \"{id}\" does not have a length between 6 and 30, or not the form [a-z]([-a-z0-9]*[a-z0-9])."
            )));
        }
        let email = format!("{id}@{}.iam.gserviceaccount.com", self.project);
        let name = format!("projects/{}/serviceAccounts/{email}", self.project);
        if self.accounts.contains_key(&email) {
            let message = format!("Service account {id} already exists within project projects/{}.", self.project);
            return Err(Failure::new(409, "ALREADY_EXISTS", message));
        }
        let number = format!("1{:020}", next());
        let mut value = json!({
            "name": name, "projectId": self.project, "uniqueId": number, "email": email, "etag": etag(), "oauth2ClientId": number,
        });
        for field in ["displayName", "description"] {
            let given = text(&body["serviceAccount"], field);
            if !given.is_empty() {
                value[field] = json!(given);
            }
        }
        self.accounts.insert(email, Account { value: value.clone(), lag: self.behaviour.account_lag });
        Ok(value)
    }

    /// Policies keep a deleted account under another name: <https://cloud.google.com/iam/docs/principals-overview>.
    fn mark_deleted(&mut self, email: &str, id: &str) {
        let member = format!("serviceAccount:{email}");
        for policy in self.policies.values_mut() {
            let bindings = policy["bindings"].as_array_mut().into_iter().flatten();
            for other in bindings.filter_map(|binding| binding["members"].as_array_mut()).flatten() {
                if *other == member.as_str() {
                    *other = json!(format!("deleted:{member}?uid={id}"));
                }
            }
        }
    }
}

/// The account that a service runs as when none is named.
pub(super) fn default_account() -> String {
    format!("{PROJECT_NUMBER}-compute@developer.gserviceaccount.com")
}
