//! The declared names of buckets, as they are in a project.

use std::fmt;

use super::bucket::{PROJECT, rule};
use super::types::Topology;
use super::values::Destination;

/// A name of a bucket that Cloud Storage refuses in this project.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketNameError {
    declared: String,
    used_by: String,
    name: String,
    rule: String,
    help: String,
}

impl fmt::Display for BucketNameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { declared, used_by, name, rule, help } = self;
        write!(f, "the bucket `{declared}` of {used_by} is `{name}` in this project: {rule}\n  help: {help}")
    }
}

impl std::error::Error for BucketNameError {}

impl Topology {
    /// Checks every declared bucket's name as it is in this project.
    ///
    /// # Errors
    /// Cloud Storage refuses the first of these names.
    pub fn check_buckets(&self, project: &str) -> Result<(), BucketNameError> {
        let archive = self.archive.iter().map(|archive| (&archive.bucket, "`[archive]`".to_owned()));
        let written = self.services.iter().flat_map(|service| {
            let results = service.results.iter().filter_map(|result| match result {
                Destination::Bucket { bucket, .. } => Some(bucket),
                _ => None,
            });
            let ledger = service.ledger.iter().map(|ledger| &ledger.bucket);
            results.chain(ledger).map(|bucket| (bucket, format!("service `{}`", service.name)))
        });
        for (declared, used_by) in archive.chain(written) {
            let name = declared.replace(PROJECT, project);
            let Some(rule) = rule(&name) else { continue };
            let error = |rule: &str, help: String| BucketNameError {
                declared: declared.clone(),
                used_by,
                name: name.clone(),
                rule: rule.to_owned(),
                help,
            };
            return Err(match project.contains(':') && declared.contains(PROJECT) {
                true => {
                    let spelled: String = name.chars().map(|c| if ":.".contains(c) { '-' } else { c }).collect();
                    let why = "the id of a domain-scoped project is no part of a bucket's name";
                    error(why, format!("declare a name without `{PROJECT}`, such as `{spelled}`"))
                }
                false => error(rule.text(), "declare another name in the topology".to_owned()),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topology(bucket: &str) -> Topology {
        Topology::parse(&format!("[archive]\nbucket = \"{bucket}\"\n"), "t.toml").unwrap()
    }

    #[test]
    fn a_name_is_checked_as_it_is_in_the_project() {
        let open = topology("{project}-code");
        assert_eq!(open.check_buckets("my-project"), Ok(()));
        let error = open.check_buckets("example.com:p").unwrap_err().to_string();
        for words in
            ["`{project}-code` of `[archive]` is `example.com:p-code`", "domain-scoped", "`example-com-p-code`"]
        {
            assert!(error.contains(words), "{error}");
        }
        assert_eq!(topology("plain-code").check_buckets("example.com:p"), Ok(()));
        // The two parts are fine, and what they make is not.
        let error = topology("goo{project}").check_buckets("gle-1").unwrap_err().to_string();
        assert!(error.contains("`google-1`"), "{error}");
    }

    #[test]
    fn buckets_of_results_and_ledgers_are_checked_too() {
        let text = "[services.s]\nresults = [\"gs://{project}-out/\"]\n";
        let error = Topology::parse(text, "t.toml").unwrap().check_buckets("example.com:p").unwrap_err();
        assert!(error.to_string().contains("service `s`"), "{error}");
    }
}
