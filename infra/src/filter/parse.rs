//! Text to expression: a recursive descent parser over bytes, bounded in length and depth.

use std::fmt;

use super::expr::{Expr, MAX_BYTES, MAX_DEPTH};

/// Why a text is no filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Byte offset in the text.
    pub position: usize,
    /// How many bytes of the text it is about; 0 at the end of the text.
    pub length: usize,
    /// What stands there.
    pub found: String,
    /// What would be right.
    pub expected: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { position, found, expected, .. } = self;
        write!(f, "found {found} at byte {position}, expected {expected}")
    }
}

impl std::error::Error for FilterError {}

const CONDITION: &str = "`attributes:key`, `attributes.key = \"value\"`, `hasPrefix(…)`, `NOT` or `(`";

pub(super) fn parse(text: &str) -> Result<Expr, FilterError> {
    let mut parser = Parser { text, at: 0, depth: 0 };
    if text.len() > MAX_BYTES {
        let found = format!("{} bytes", text.len());
        let expected = format!("at most {}", MAX_BYTES);
        return Err(FilterError { position: 0, length: text.len(), found, expected });
    }
    let expr = parser.filter()?;
    if parser.at < text.len() {
        return Err(parser.unexpected("`AND`, `OR` or the end"));
    }
    Ok(expr)
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

impl<'t> Parser<'t> {
    /// Terms joined by one kind of operator. Leaves the position behind any space.
    fn filter(&mut self) -> Result<Expr, FilterError> {
        let first = self.term()?;
        let mut terms = vec![first];
        let mut joined_by = None;
        loop {
            let before = self.at;
            self.space();
            let word = self.word();
            if !matches!(word, "AND" | "OR") {
                if matches!(word.to_ascii_uppercase().as_str(), "AND" | "OR") {
                    return Err(self.unexpected("the operator in upper case"));
                }
                break;
            }
            if joined_by.is_some_and(|operator| operator != word) {
                return Err(self.unexpected("parentheses around the mixed AND and OR"));
            }
            if before == self.at && !self.text[..before].ends_with(')') {
                return Err(self.unexpected("a space before the operator"));
            }
            joined_by = Some(word);
            self.at += word.len();
            self.gap_after_operator()?;
            terms.push(self.term()?);
        }
        Ok(match joined_by {
            None => terms.remove(0),
            Some("AND") => Expr::And(terms),
            Some(_) => Expr::Or(terms),
        })
    }

    fn term(&mut self) -> Result<Expr, FilterError> {
        self.space();
        let negated = if self.eat("-") {
            true
        } else if self.word() == "NOT" {
            self.at += "NOT".len();
            self.gap_after_operator()?;
            true
        } else {
            false
        };
        self.space();
        if negated && (self.rest().starts_with('-') || self.word() == "NOT") {
            return Err(self.unexpected("parentheses around what is negated twice"));
        }
        let expr = self.simple()?;
        Ok(if negated { Expr::Not(Box::new(expr)) } else { expr })
    }

    fn simple(&mut self) -> Result<Expr, FilterError> {
        if self.rest().starts_with('(') {
            if self.depth == MAX_DEPTH {
                let expected = format!("at most {} nested parentheses", MAX_DEPTH);
                return Err(self.unexpected(&expected));
            }
            self.depth += 1;
            self.at += 1;
            let expr = self.filter()?;
            self.expect(")", "`AND`, `OR` or `)`")?;
            self.depth -= 1;
            return Ok(expr);
        }
        match self.word() {
            "attributes" => self.comparison(),
            "hasPrefix" => self.prefix(),
            word => Err(self.unexpected(match word.to_ascii_lowercase().as_str() {
                "attributes" | "attribute" => "`attributes`",
                "hasprefix" => "`hasPrefix`",
                "not" => "the operator in upper case",
                _ => CONDITION,
            })),
        }
    }

    /// `attributes:key`, `attributes.key = "value"`, `attributes.key != "value"`.
    fn comparison(&mut self) -> Result<Expr, FilterError> {
        self.at += "attributes".len();
        if self.eat(".") {
            let key = self.key()?;
            self.space();
            let equal = self.eat("=");
            if !equal && !self.eat("!=") {
                return Err(self.unexpected("`=` or `!=`"));
            }
            self.space();
            let value = self.string("a value in double quotes")?;
            return Ok(if equal { Expr::Equals { key, value } } else { Expr::Differs { key, value } });
        }
        self.space();
        self.expect(":", "`:key` or `.key`")?;
        self.space();
        Ok(Expr::Has { key: self.key()? })
    }

    /// `hasPrefix(attributes.key, "prefix")`.
    fn prefix(&mut self) -> Result<Expr, FilterError> {
        self.at += "hasPrefix".len();
        self.space();
        self.expect("(", "`(`")?;
        self.space();
        self.expect("attributes.", "`attributes.key`")?;
        let key = self.key()?;
        self.space();
        self.expect(",", "`,`")?;
        self.space();
        let prefix = self.string("a prefix in double quotes")?;
        self.space();
        self.expect(")", "`)`")?;
        Ok(Expr::Prefix { key, prefix })
    }

    fn key(&mut self) -> Result<String, FilterError> {
        if self.rest().starts_with('"') {
            let start = self.at;
            let key = self.string("a key")?;
            if key.is_empty() {
                self.at = start;
                return Err(self.unexpected("a key of at least one character"));
            }
            return Ok(key);
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.unexpected("a key: letters, digits, `-`, `_`, or any in double quotes"));
        }
        if is_operator(word) {
            return Err(self.unexpected("double quotes around a key that is an operator"));
        }
        self.at += word.len();
        Ok(word.to_owned())
    }

    /// A quoted string, without its quotes and escapes.
    fn string(&mut self, expected: &str) -> Result<String, FilterError> {
        let start = self.at;
        if !self.eat("\"") {
            return Err(self.unexpected(expected));
        }
        let mut value = String::new();
        loop {
            match self.rest().chars().next() {
                None => {
                    self.at = start;
                    let found = "a string without its end".to_owned();
                    return Err(self.error(self.text.len() - start, found, "a closing `\"`"));
                }
                Some('"') => {
                    self.at += 1;
                    return Ok(value);
                }
                Some('\\') => value.push(self.escape()?),
                Some(c) if c.is_control() => {
                    return Err(self.unexpected("an escape such as `\\n` or `\\x07`"));
                }
                Some(c) => {
                    self.at += c.len_utf8();
                    value.push(c);
                }
            }
        }
    }

    fn escape(&mut self) -> Result<char, FilterError> {
        let rest = &self.rest()[1..];
        let Some(c) = rest.chars().next() else {
            return Err(self.unexpected("an escape"));
        };
        let (skip, digits, radix) = match c {
            'x' => (1, 2, 16),
            'u' => (1, 4, 16),
            'U' => (1, 8, 16),
            '0'..='7' => (0, 3, 8),
            _ => {
                let known = match c {
                    'a' => '\x07',
                    'b' => '\x08',
                    'f' => '\x0c',
                    'n' => '\n',
                    'r' => '\r',
                    't' => '\t',
                    'v' => '\x0b',
                    '\\' | '"' | '\'' | '?' | '`' => c,
                    _ => {
                        let found = format!("`\\{}`", c.escape_debug());
                        let length = 1 + c.len_utf8();
                        return Err(self.error(length, found, "an escape such as `\\\\` or `\\\"`"));
                    }
                };
                self.at += 2;
                return Ok(known);
            }
        };
        let number = rest
            .get(skip..skip + digits)
            .filter(|text| text.bytes().all(|b| char::from(b).is_digit(radix)))
            .and_then(|text| u32::from_str_radix(text, radix).ok())
            .filter(|number| radix == 16 || *number < 256)
            .and_then(char::from_u32);
        let Some(value) = number else {
            let expected = match c {
                'x' => "two hexadecimal digits after `\\x`",
                'u' => "four hexadecimal digits of a character after `\\u`",
                'U' => "eight hexadecimal digits of a character after `\\U`",
                _ => "three octal digits up to `\\377`",
            };
            return Err(self.error(2, format!("`\\{c}`"), expected));
        };
        self.at += 1 + skip + digits;
        Ok(value)
    }

    fn rest(&self) -> &'t str {
        &self.text[self.at..]
    }

    /// The letters, digits, `-` and `_` that come next.
    fn word(&self) -> &'t str {
        let rest = self.rest();
        let end = rest.bytes().position(|b| !is_word(b)).unwrap_or(rest.len());
        &rest[..end]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n']).len();
    }

    fn gap_after_operator(&mut self) -> Result<(), FilterError> {
        match self.rest().bytes().next() {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'(') => Ok(()),
            Some(_) => Err(self.unexpected("a space after the operator")),
        }
    }

    fn eat(&mut self, token: &str) -> bool {
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str, expected: &str) -> Result<(), FilterError> {
        if self.eat(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    /// An error about the word or character that comes next.
    fn unexpected(&self, expected: &str) -> FilterError {
        let length = match self.word().len() {
            0 => self.rest().chars().next().map_or(0, char::len_utf8),
            length => length,
        };
        let found = match &self.rest()[..length] {
            "" => "the end".to_owned(),
            text if text.contains(char::is_control) => format!("`{}`", text.escape_debug()),
            text => format!("`{text}`"),
        };
        self.error(length, found, expected)
    }

    fn error(&self, length: usize, found: String, expected: &str) -> FilterError {
        FilterError { position: self.at, length, found, expected: expected.to_owned() }
    }
}

pub(super) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_'
}

pub(super) fn is_operator(word: &str) -> bool {
    matches!(word, "AND" | "OR" | "NOT")
}
