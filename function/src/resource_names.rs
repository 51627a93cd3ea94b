//! Names of topics, subscriptions and buckets, by the rules of Pub/Sub and Cloud Storage.

/// A name that Google Cloud would refuse: what was found, and what is expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ResourceNameError(String);

/// Checks a full topic name by Pub/Sub's rules for resource names; the error says what would be right.
pub(crate) fn check_topic(name: &str) -> Result<(), ResourceNameError> {
    check_name("topic", name)
}

/// Checks the full name of a topic or subscription, which `kind` says.
pub(crate) fn check_name(kind: &str, name: &str) -> Result<(), ResourceNameError> {
    let parts: Vec<&str> = name.split('/').collect();
    let (project, id) = match parts[..] {
        ["projects", project, collection, id] if collection.strip_suffix('s') == Some(kind) => (project, id),
        _ => return Err(ResourceNameError(format!("a {kind} is named in full: projects/P/{kind}s/NAME"))),
    };
    if project.is_empty() || !project.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:".contains(&b)) {
        return Err(ResourceNameError(format!("`{project}` is no project id")));
    }
    let letters = |b: u8| b.is_ascii_alphanumeric() || b"-_.~+%".contains(&b);
    if !(3..=255).contains(&id.len())
        || !id.starts_with(|c: char| c.is_ascii_alphabetic())
        || id.starts_with("goog")
        || !id.bytes().all(letters)
    {
        return Err(ResourceNameError(format!(
            "`{id}` is no {kind} id: 3 to 255 of A-Z a-z 0-9 - _ . ~ + %, beginning with a letter and not with `goog`"
        )));
    }
    Ok(())
}

/// Checks a bucket name by Cloud Storage's rules; the error says what would be right.
pub(crate) fn check_bucket(name: &str) -> Result<(), ResourceNameError> {
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let letters = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_.".contains(&b);
    if (3..=222).contains(&name.len())
        && name.bytes().all(letters)
        && ends(name.bytes().next())
        && ends(name.bytes().last())
    {
        return Ok(());
    }
    let right = "3 to 222 of a-z 0-9 - _ . that begins and ends with a letter or digit";
    Err(ResourceNameError(format!("`{name}` is no bucket name: {right}")))
}
