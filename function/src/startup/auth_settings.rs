//! The caller check that the settings `AUTH_…` ask for.

use super::error::StartError;
use crate::Config;
use crate::auth::Auth;
use crate::config::GOOGLE_KEYS_URL;

/// The check; `None` where no setting asks for one. Settings that look like protection and protect nothing are refused.
pub(super) fn auth(config: &Config) -> Result<Option<Auth>, StartError> {
    let emails = config.auth_emails.iter().flatten().map(|email| email.trim().to_owned());
    let emails: Vec<String> = emails.filter(|email| !email.is_empty()).collect();
    let own_keys = config.auth_keys_url != GOOGLE_KEYS_URL;
    let Some(audience) = config.auth_audience.as_deref().filter(|audience| !audience.is_empty()) else {
        let why = "it protects nothing without AUTH_AUDIENCE, the audience that the push subscription's tokens have";
        return match (emails.is_empty(), own_keys) {
            (false, _) => Err(StartError::setting("AUTH_EMAILS", emails.join(","), why)),
            (true, true) => Err(StartError::setting("AUTH_KEYS_URL", &config.auth_keys_url, why)),
            (true, false) => Ok(None),
        };
    };
    if emails.is_empty() && !own_keys {
        let why = "every account of Google can have a token for it; name those that may call in AUTH_EMAILS";
        return Err(StartError::setting("AUTH_AUDIENCE", audience, why));
    }
    let auth = Auth::start(audience, emails, &config.auth_keys_url)
        .map_err(|error| StartError::setting("AUTH_KEYS_URL", &config.auth_keys_url, error))?;
    Ok(Some(auth))
}
