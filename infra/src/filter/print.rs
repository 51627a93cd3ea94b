//! Expression to canonical text.

use std::fmt::{self, Write};

use super::expr::{Expr, MAX_BYTES};
use super::parse::{is_operator, is_word};

/// Prints the readable form; where that would be longer than a filter may be, the shortest form, which is never longer
/// than the text it was parsed from. So whatever was parsed prints as a valid filter.
pub(super) fn print(expr: &Expr, out: &mut impl Write) -> fmt::Result {
    let mut length = Length(0);
    write(expr, &mut length, READABLE)?;
    let style = if length.0 > MAX_BYTES { SHORT } else { READABLE };
    write(expr, out, style)
}

pub(super) struct Style {
    /// Around operators and after commas where they are a matter of taste.
    space: &'static str,
    not: &'static str,
}

pub(super) const READABLE: &Style = &Style { space: " ", not: "NOT " };
const SHORT: &Style = &Style { space: "", not: "-" };

struct Length(usize);

impl Write for Length {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0 += text.len();
        Ok(())
    }
}

pub(super) fn write(expr: &Expr, out: &mut impl Write, style: &Style) -> fmt::Result {
    let space = style.space;
    match expr {
        Expr::Has { key: name } => {
            out.write_str("attributes:")?;
            key(name, out)
        }
        Expr::Equals { key: name, value } => {
            out.write_str("attributes.")?;
            key(name, out)?;
            write!(out, "{space}={space}")?;
            string(value, out)
        }
        Expr::Differs { key: name, value } => {
            out.write_str("attributes.")?;
            key(name, out)?;
            write!(out, "{space}!={space}")?;
            string(value, out)
        }
        Expr::Prefix { key: name, prefix } => {
            out.write_str("hasPrefix(attributes.")?;
            key(name, out)?;
            write!(out, ",{space}")?;
            string(prefix, out)?;
            out.write_char(')')
        }
        Expr::Not(inner) => {
            out.write_str(style.not)?;
            let nested = matches!(**inner, Expr::Not(_) | Expr::And(_) | Expr::Or(_));
            operand(inner, nested, out, style)
        }
        Expr::And(terms) => join(terms, "AND", out, style),
        Expr::Or(terms) => join(terms, "OR", out, style),
    }
}

/// An operator needs no space next to a parenthesis.
fn join(terms: &[Expr], operator: &str, out: &mut impl Write, style: &Style) -> fmt::Result {
    let nested = |term: &Expr| matches!(term, Expr::And(_) | Expr::Or(_));
    for (index, term) in terms.iter().enumerate() {
        if index > 0 {
            let after_parenthesis = nested(&terms[index - 1]) || ends_nested(&terms[index - 1]);
            out.write_str(if after_parenthesis { style.space } else { " " })?;
            out.write_str(operator)?;
            out.write_str(if nested(term) { style.space } else { " " })?;
        }
        operand(term, nested(term), out, style)?;
    }
    Ok(())
}

fn ends_nested(term: &Expr) -> bool {
    match term {
        Expr::Not(inner) => {
            matches!(**inner, Expr::Not(_) | Expr::And(_) | Expr::Or(_) | Expr::Prefix { .. })
        }
        Expr::Prefix { .. } => true,
        _ => false,
    }
}

fn operand(expr: &Expr, nested: bool, out: &mut impl Write, style: &Style) -> fmt::Result {
    if nested {
        out.write_char('(')?;
        write(expr, out, style)?;
        out.write_char(')')
    } else {
        write(expr, out, style)
    }
}

fn key(name: &str, out: &mut impl Write) -> fmt::Result {
    if !name.is_empty() && name.bytes().all(is_word) && !is_operator(name) {
        out.write_str(name)
    } else {
        string(name, out)
    }
}

fn string(value: &str, out: &mut impl Write) -> fmt::Result {
    out.write_char('"')?;
    for c in value.chars() {
        match c {
            '"' => out.write_str("\\\"")?,
            '\\' => out.write_str("\\\\")?,
            '\x07' => out.write_str("\\a")?,
            '\x08' => out.write_str("\\b")?,
            '\x0c' => out.write_str("\\f")?,
            '\n' => out.write_str("\\n")?,
            '\r' => out.write_str("\\r")?,
            '\t' => out.write_str("\\t")?,
            '\x0b' => out.write_str("\\v")?,
            // Every control character is below U+0100, so two digits do.
            c if c.is_control() => write!(out, "\\x{:02x}", u32::from(c))?,
            c => out.write_char(c)?,
        }
    }
    out.write_char('"')
}
