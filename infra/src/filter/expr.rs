//! A filter as an expression, and what it matches.

use std::collections::BTreeMap;

/// The longest filter that Pub/Sub takes, in bytes of UTF-8.
pub(super) const MAX_BYTES: usize = 256;

/// The deepest nesting of parentheses that is accepted.
pub(super) const MAX_DEPTH: usize = 32;

/// Conditions, and how they are combined. `And` and `Or` have at least two terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expr {
    Has { key: String },
    Equals { key: String, value: String },
    Differs { key: String, value: String },
    Prefix { key: String, prefix: String },
    Not(Box<Expr>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
}

impl Expr {
    pub(super) fn matches(&self, attributes: &BTreeMap<String, String>) -> bool {
        match self {
            Self::Has { key } => attributes.contains_key(key),
            Self::Equals { key, value } => attributes.get(key) == Some(value),
            Self::Differs { key, value } => attributes.get(key) != Some(value),
            Self::Prefix { key, prefix } => attributes.get(key).is_some_and(|value| value.starts_with(prefix.as_str())),
            Self::Not(expr) => !expr.matches(attributes),
            Self::And(terms) => terms.iter().all(|term| term.matches(attributes)),
            Self::Or(terms) => terms.iter().any(|term| term.matches(attributes)),
        }
    }
}
