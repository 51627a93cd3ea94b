//! The filter language of Pub/Sub subscriptions: parse, print, match.
//!
//! One language for routes, subscriptions, the local run and the redrive of dead letters. The grammar is the one of
//! <https://cloud.google.com/pubsub/docs/subscription-message-filter>:
//!
//! ```text
//! filter     = term { "AND" term } | term { "OR" term }     AND and OR mix only with parentheses
//! term       = [ "NOT" | "-" ] simple                       a second negation needs parentheses
//! simple     = "(" filter ")" | condition
//! condition  = "attributes" ":" key                         the attribute is there
//!            | "attributes" "." key "=" string              it is there and equal
//!            | "attributes" "." key "!=" string             the negation of "="
//!            | "hasPrefix" "(" "attributes" "." key "," string ")"
//! key        = letters, digits, "-" and "_" | string
//! string     = '"' characters and escapes '"'
//! ```
//!
//! - Operators are upper case and stand between spaces or parentheses; `hasPrefix` and `attributes` are spelt so. Keys
//!   and values are compared exactly, case included.
//! - Escapes in strings: `\a \b \f \n \r \t \v \\ \" \' \? \``, `\ooo` (octal), `\xhh`, `\uhhhh`, `\Uhhhhhhhh`. A
//!   number is a Unicode code point. Control characters must be escaped.
//! - A filter has 1 to [`Filter::MAX_BYTES`] bytes. A subscription's empty filter means "every message"; here that is
//!   no filter at all, and the empty text an error.
//! - `attributes.key != "v"` is true for a message that lacks the attribute: Google describes it as the messages
//!   without that attribute and value, in the same words as `NOT hasPrefix(…)`. To ask for presence too, write
//!   `attributes:key AND attributes.key != "v"`.
//!
//! Where Google's page is silent (quotes other than `"`, adjacent conditions without an operator), this parser refuses:
//! what it accepts should deploy.

mod expr;
#[cfg(test)]
mod fuzzed;
mod overlap;
mod parse;
mod print;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use expr::{Expr, MAX_BYTES, MAX_DEPTH};
pub use parse::FilterError;

/// A parsed filter.
///
/// `Display` prints its canonical text, which parses to an equal filter and keeps within [`Filter::MAX_BYTES`].
///
/// ```
/// use std::collections::BTreeMap;
/// use infra::filter::Filter;
///
/// let filter = Filter::parse(r#"attributes.kind="ticket" AND -attributes:test"#)?;
/// assert_eq!(filter.to_string(), r#"attributes.kind = "ticket" AND NOT attributes:test"#);
/// assert!(filter.matches(&BTreeMap::from([("kind".to_owned(), "ticket".to_owned())])));
/// # Ok::<(), infra::filter::FilterError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    expr: Expr,
}

impl Filter {
    /// The longest filter that Pub/Sub takes, in bytes of UTF-8.
    pub const MAX_BYTES: usize = MAX_BYTES;

    /// The deepest nesting of parentheses that is accepted.
    pub const MAX_DEPTH: usize = MAX_DEPTH;

    /// Parses `text` as a filter.
    ///
    /// # Errors
    /// Where the text leaves the grammar: the byte position, what stands there and what was expected. Also for a text
    /// that is empty, longer than [`Filter::MAX_BYTES`] or nested deeper than [`Filter::MAX_DEPTH`].
    pub fn parse(text: &str) -> Result<Self, FilterError> {
        parse::parse(text).map(|expr| Self { expr })
    }

    /// Whether a message with these attributes passes. Allocates nothing.
    pub fn matches(&self, attributes: &BTreeMap<String, String>) -> bool {
        self.expr.matches(attributes)
    }

    /// Whether some message passes this filter.
    pub fn can_match(&self) -> bool {
        overlap::possible(&[&self.expr])
    }

    /// Whether some message passes both filters. `false` is certain; `true` is also the answer for the rare pair with
    /// so many alternatives that deciding would take long.
    pub fn overlaps(&self, other: &Self) -> bool {
        overlap::possible(&[&self.expr, &other.expr])
    }
}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        Self::parse(text)
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print::print(&self.expr, f)
    }
}
