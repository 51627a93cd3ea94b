//! Who may post events: verifies the identity tokens that Pub/Sub and Eventarc send.
//!
//! On Cloud Run, IAM checks them before a request arrives; this check is for deployments where nothing in front of the
//! process does. A token is a JWT signed with RS256 by Google, see
//! <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>:
//!
//! | claim | must be |
//! |---|---|
//! | `iss` | `https://accounts.google.com` |
//! | `aud` | `AUTH_AUDIENCE` |
//! | `exp`, `iat`, `nbf` | now, give or take 60 s (`token::LEEWAY_SECONDS`) |
//! | `email`, `email_verified` | one of `AUTH_EMAILS` where set, and true |
//!
//! # Layout
//!
//! - `token`: reading a token, its claims, its signature
//! - `keys`: the keys it may be signed with

#[cfg(test)]
mod fuzzed;
mod keys;
mod token;

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use keys::Keys;
pub(crate) use keys::check_url;
use token::Token;

/// The check of tokens, as it is configured.
pub(crate) struct Auth {
    audience: String,
    /// Empty: every account that has a token for the audience.
    emails: BTreeSet<String>,
    keys: Arc<Keys>,
}

/// Why a token is refused. The texts go to the caller: they name no secret and nothing of the token's signature.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    /// No token, or one that is not valid for this service.
    #[error("{0}")]
    Unauthorized(String),
    /// A valid token of another account.
    #[error("{0}")]
    Forbidden(String),
    /// It cannot be told now, because no keys could be fetched.
    #[error("callers cannot be checked at the moment; send it again later")]
    Unavailable,
}

impl Auth {
    /// Keys are fetched from `keys_url`, at once and in the background.
    ///
    /// # Errors
    /// No HTTP client can be made.
    pub(crate) fn start(
        audience: &str,
        emails: impl IntoIterator<Item = String>,
        keys_url: &str,
    ) -> Result<Self, reqwest::Error> {
        let keys = Arc::new(Keys::new(keys_url)?);
        keys.renew();
        Ok(Self { audience: audience.to_owned(), emails: emails.into_iter().collect(), keys })
    }

    /// Verifies an identity token: its claims, then its signature, then its account.
    ///
    /// # Errors
    /// What is wrong with the token, or that it cannot be told.
    pub(crate) async fn verify(&self, token: &str) -> Result<(), AuthError> {
        let unauthorized = |why: &str| AuthError::Unauthorized(why.to_owned());
        let token = Token::read(token).map_err(unauthorized)?;
        // Before the key, so that only tokens that look right make this process ask for one.
        token.check(&self.audience, Timestamp::now().as_second()).map_err(unauthorized)?;
        let key = self.keys.get(token.key_id()).await.map_err(|_| AuthError::Unavailable)?;
        let key = key.ok_or_else(|| unauthorized("the token is signed with a key that its issuer does not have"))?;
        if !key.signed(&token) {
            return Err(unauthorized("the token's signature is wrong"));
        }
        let email = token.email().ok_or_else(|| unauthorized("the token has no verified email"))?;
        if !self.emails.is_empty() && !self.emails.contains(email) {
            return Err(AuthError::Forbidden("the token's account may not call this service".to_owned()));
        }
        Ok(())
    }
}
