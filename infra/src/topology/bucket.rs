//! Names of buckets: Cloud Storage's rules, for a name as it is declared and as it is in a project.
//! <https://cloud.google.com/storage/docs/buckets#naming>

use super::read::ValueError;

/// Stands for the project's id in a bucket's name.
pub const PROJECT: &str = "{project}";

/// The longest project id, in characters.
const MAX_PROJECT_ID_LENGTH: usize = 30;

/// A declared name: what holds for each project is checked with an id of the greatest length.
pub(super) fn bucket_name(name: &str) -> Result<(), ValueError> {
    let open = name.contains(PROJECT);
    let rule = match rule(&name.replace(PROJECT, &"p".repeat(MAX_PROJECT_ID_LENGTH))) {
        None => return Ok(()),
        Some(Rule::Length) if open => {
            format!(
                "with a project id of {MAX_PROJECT_ID_LENGTH} characters this leaves Cloud Storage's 3 to 63 characters"
            )
        }
        Some(Rule::Characters) => format!("{}, here also `{PROJECT}`", Rule::Characters.text()),
        Some(rule) => rule.text().to_owned(),
    };
    Err(ValueError::new(rule))
}

/// A rule that a name breaks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    Length,
    Component,
    Characters,
    Edges,
    Address,
    Google,
}

impl Rule {
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Length => "Cloud Storage allows 3 to 63 characters, with dots up to 222",
            Self::Component => "Cloud Storage allows 1 to 63 characters between the dots of a name",
            Self::Characters => "Cloud Storage allows lower-case letters, digits and `-` `_` `.`",
            Self::Edges => "a bucket's name begins and ends with a letter or digit",
            Self::Address => "a bucket's name is no IP address",
            Self::Google => "names that begin with `goog`, or contain `google` or a close misspelling, are Google's",
        }
    }
}

pub(super) fn rule(name: &str) -> Option<Rule> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let longest = if name.contains('.') { 222 } else { 63 };
    let number = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !(3..=longest).contains(&name.len()) {
        Some(Rule::Length)
    } else if !name.chars().all(|c| edge(c) || "-_.".contains(c)) {
        Some(Rule::Characters)
    } else if !name.starts_with(edge) || !name.ends_with(edge) {
        Some(Rule::Edges)
    } else if name.split('.').any(|part| part.is_empty() || part.len() > 63) {
        Some(Rule::Component)
    } else if name.split('.').count() == 4 && name.split('.').all(number) {
        Some(Rule::Address)
    } else if name.starts_with("goog") || resembles_google(name) {
        Some(Rule::Google)
    } else {
        None
    }
}

/// Whether a name contains `google`, also with digits for letters (`g00gle`, `goog1e`) or more of its `o` (`gooogle`).
fn resembles_google(name: &str) -> bool {
    let letter = |c: char| match c {
        '0' => 'o',
        '1' => 'l',
        '3' => 'e',
        c => c,
    };
    let read: String = name.chars().map(letter).collect();
    read.split('g')
        .zip(read.split('g').skip(1))
        .any(|(between, after)| between.len() >= 2 && between.bytes().all(|b| b == b'o') && after.starts_with("le"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(name: &str) -> bool {
        rule(name).is_none()
    }

    #[test]
    fn names_that_cloud_storage_takes() {
        let component = "c".repeat(63);
        let long = [&*component, &component, &component, &"d".repeat(30)].join(".");
        assert_eq!(long.len(), 222);
        for name in
            ["abc", "a-b_c.d", "1-2", "my-travel-maps", "0f75d593-8e7b", "example.com", "1.2.3", &component, &long]
        {
            assert!(allowed(name), "{name}");
        }
        for name in ["gogle", "my-goo-gle", "bigoogl", "agoo"] {
            assert!(allowed(name), "{name}");
        }
    }

    #[test]
    fn names_that_cloud_storage_refuses() {
        let component = "c".repeat(64);
        let long = ["c".repeat(63), "c".repeat(63), "c".repeat(63), "d".repeat(31)].join(".");
        let names = [
            "ab",
            &component,
            &format!("{component}.d"),
            &long,
            "a..b",
            "Upper",
            "a b",
            "a:b",
            "-a-",
            "a_",
            ".ab",
            "ab.",
            "192.168.5.4",
            "999.1.1.1",
            "goog-x",
            "goog",
            "my-google",
            "x-g00gle-y",
            "go0gle",
            "goog1e",
            "g0ogl3",
            "gooogle",
            "ungoogled",
            "ä-bucket",
        ];
        for name in names {
            assert!(!allowed(name), "{name}");
        }
    }
}
