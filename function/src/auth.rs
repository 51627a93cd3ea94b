//! Who may post events: the identity token that Pub/Sub and Eventarc send along, checked in this process.
//!
//! Cloud Run's IAM check does this before a request arrives; this one is for where nobody else does. A token is a JWT signed
//! with RS256 by Google, see <https://cloud.google.com/pubsub/docs/authenticate-push-subscriptions>:
//!
//! | claim | must be |
//! |---|---|
//! | `iss` | `https://accounts.google.com` |
//! | `aud` | `AUTH_AUDIENCE` |
//! | `exp`, `iat`, `nbf` | now, give or take [`token::LEEWAY`] |
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

use http::{HeaderMap, header};
use jiff::Timestamp;

use keys::Keys;
pub(crate) use keys::check_url;
use token::Token;

/// The check, as it is set.
pub(crate) struct Auth {
    audience: String,
    /// Empty: anybody who has a token for the audience.
    emails: BTreeSet<String>,
    keys: Arc<Keys>,
}

/// Why a request is not let in. The texts name no secret and nothing of the token's signature.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No token, or one that is not good for this service.
    Unauthorized(String),
    /// A good token of somebody else.
    Forbidden(String),
    /// It cannot be told now, because no keys could be fetched.
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

    /// Checks the token of a request.
    pub(crate) async fn check(&self, headers: &HeaderMap) -> Result<(), Refused> {
        let unauthorized = |why: &str| Refused::Unauthorized(why.to_owned());
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let value = match (values.next(), values.next()) {
            (Some(value), None) => value.to_str().map_err(|_| unauthorized("the Authorization header is no text"))?,
            (None, _) => return Err(unauthorized("an identity token is needed: Authorization: Bearer TOKEN")),
            (Some(_), Some(_)) => return Err(unauthorized("there are two Authorization headers")),
        };
        let token = match value.split_once(' ') {
            Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
            _ => return Err(unauthorized("the Authorization header is not `Bearer TOKEN`")),
        };
        let token = Token::read(token).map_err(unauthorized)?;
        // Before the key, so that only tokens that look right make this process ask for one.
        token.check(&self.audience, Timestamp::now().as_second()).map_err(unauthorized)?;
        let key = self.keys.get(token.key_id()).await.map_err(|_| Refused::Unavailable)?;
        let key = key.ok_or_else(|| unauthorized("the token is signed with a key that its issuer does not have"))?;
        if !key.signed(&token) {
            return Err(unauthorized("the token's signature is wrong"));
        }
        let email = token.email().ok_or_else(|| unauthorized("the token has no verified email"))?;
        if !self.emails.is_empty() && !self.emails.contains(email) {
            return Err(Refused::Forbidden("the token's account may not call this service".to_owned()));
        }
        Ok(())
    }
}
