//! The caller check: the identity token that Pub/Sub and Eventarc send in the header `Authorization`.

use axum::http::{HeaderMap, header};

use super::error::RequestError;
use crate::auth::{Auth, AuthError};

/// Lets a request in if no check is configured, or if its token passes it.
pub(super) async fn check(auth: Option<&Auth>, headers: &HeaderMap) -> Result<(), RequestError> {
    let Some(auth) = auth else { return Ok(()) };
    let token = bearer_token(headers).map_err(|why| AuthError::Unauthorized(why.to_owned()))?;
    Ok(auth.verify(token).await?)
}

/// The token of `Authorization: Bearer TOKEN`; the error says what is wrong with the header.
fn bearer_token(headers: &HeaderMap) -> Result<&str, &'static str> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().map_err(|_| "the Authorization header is no text")?,
        (None, _) => return Err("an identity token is needed: Authorization: Bearer TOKEN"),
        (Some(_), Some(_)) => return Err("there are two Authorization headers"),
    };
    match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err("the Authorization header is not `Bearer TOKEN`"),
    }
}
