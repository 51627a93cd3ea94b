use proptest::prelude::*;

use super::*;

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn prints_the_canonical_form() {
    for (text, canonical) in [
        ("attributes:name", "attributes:name"),
        (" attributes : \"name\" ", "attributes:name"),
        ("attributes.name=\"com\"", "attributes.name = \"com\""),
        ("attributes.name!=\"com\"", "attributes.name != \"com\""),
        ("hasPrefix( attributes.name ,\"co\" )", "hasPrefix(attributes.name, \"co\")"),
        ("-attributes:a", "NOT attributes:a"),
        ("NOT(attributes:a)", "NOT attributes:a"),
        ("NOT (NOT attributes:a)", "NOT (NOT attributes:a)"),
        ("((attributes:a)AND(attributes:b))", "attributes:a AND attributes:b"),
        ("attributes:a AND (attributes:b OR attributes:c)", "attributes:a AND (attributes:b OR attributes:c)"),
        ("(attributes:a AND attributes:b) AND -attributes:c", "(attributes:a AND attributes:b) AND NOT attributes:c"),
        ("attributes.\"iana.org/language_tag\" = \"en\"", "attributes.\"iana.org/language_tag\" = \"en\""),
        ("attributes:\"\\u307F\\u3093\\u306A\"", "attributes:\"みんな\""),
        (r#"attributes.a = "\101\x42\U00000043\t\"\\\'\?\`""#, r#"attributes.a = "ABC\t\"\\'?`""#),
        ("attributes:\"AND\"", "attributes:\"AND\""),
        ("attributes.hasPrefix = \"\"", "attributes.hasPrefix = \"\""),
    ] {
        assert_eq!(Filter::parse(text).unwrap().to_string(), canonical, "{text}");
    }
}

#[test]
fn says_where_and_what_is_wrong() {
    for (text, error) in [
        (
            "",
            "found the end at byte 0, expected `attributes:key`, `attributes.key = \"value\"`, `hasPrefix(…)`, `NOT` or `(`",
        ),
        ("attributes", "found the end at byte 10, expected `:key` or `.key`"),
        ("attribute:a", "found `attribute` at byte 0, expected `attributes`"),
        ("attributes:", "found the end at byte 11, expected a key: letters, digits, `-`, `_`, or any in double quotes"),
        ("attributes:\"\"", "found `\"` at byte 11, expected a key of at least one character"),
        (
            "attributes:\\u307F",
            "found `\\` at byte 11, expected a key: letters, digits, `-`, `_`, or any in double quotes",
        ),
        ("attributes:iana.org", "found `.` at byte 15, expected `AND`, `OR` or the end"),
        ("attributes.a.b = \"x\"", "found `.` at byte 12, expected `=` or `!=`"),
        ("attributes.a = x", "found `x` at byte 15, expected a value in double quotes"),
        ("attributes.a = 'x'", "found `'` at byte 15, expected a value in double quotes"),
        ("attributes.a == \"x\"", "found `=` at byte 14, expected a value in double quotes"),
        ("attributes.a > \"x\"", "found `>` at byte 13, expected `=` or `!=`"),
        ("attributes.a = attributes.b", "found `attributes` at byte 15, expected a value in double quotes"),
        (
            "\"com\" = attributes.a",
            "found `\"` at byte 0, expected `attributes:key`, `attributes.key = \"value\"`, `hasPrefix(…)`, `NOT` or `(`",
        ),
        ("attributes.a = \"x", "found a string without its end at byte 15, expected a closing `\"`"),
        ("attributes.a = \"\\q\"", "found `\\q` at byte 16, expected an escape such as `\\\\` or `\\\"`"),
        (
            "attributes.a = \"\\uD800\"",
            "found `\\u` at byte 16, expected four hexadecimal digits of a character after `\\u`",
        ),
        ("attributes.a = \"\\x+1\"", "found `\\x` at byte 16, expected two hexadecimal digits after `\\x`"),
        ("attributes.a = \"\\777\"", "found `\\7` at byte 16, expected three octal digits up to `\\377`"),
        ("attributes.a = \"\n\"", "found `\\n` at byte 16, expected an escape such as `\\n` or `\\x07`"),
        ("attributes:a and attributes:b", "found `and` at byte 13, expected the operator in upper case"),
        ("attributes:a attributes:b", "found `attributes` at byte 13, expected `AND`, `OR` or the end"),
        (
            "attributes:a AND attributes:b OR attributes:c",
            "found `OR` at byte 30, expected parentheses around the mixed AND and OR",
        ),
        (
            "attributes:a AND",
            "found the end at byte 16, expected `attributes:key`, `attributes.key = \"value\"`, `hasPrefix(…)`, `NOT` or `(`",
        ),
        ("attributes.a = \"x\"AND attributes:b", "found `AND` at byte 18, expected a space before the operator"),
        ("not attributes:a", "found `not` at byte 0, expected the operator in upper case"),
        ("NOT NOT attributes:a", "found `NOT` at byte 4, expected parentheses around what is negated twice"),
        ("(attributes:a", "found the end at byte 13, expected `AND`, `OR` or `)`"),
        ("attributes:a)", "found `)` at byte 12, expected `AND`, `OR` or the end"),
        ("hasprefix(attributes.a, \"x\")", "found `hasprefix` at byte 0, expected `hasPrefix`"),
        ("hasPrefix(attributes:a, \"x\")", "found `attributes` at byte 10, expected `attributes.key`"),
        ("hasPrefix(attributes.a)", "found `)` at byte 22, expected `,`"),
        ("attributes:NOT", "found `NOT` at byte 11, expected double quotes around a key that is an operator"),
    ] {
        assert_eq!(Filter::parse(text).unwrap_err().to_string(), error, "{text}");
    }
}

#[test]
fn length_and_depth_are_bounded() {
    let fits = format!("attributes:{}", "a".repeat(Filter::MAX_BYTES - 11));
    assert_eq!(Filter::parse(&fits).unwrap().to_string(), fits);
    let error = Filter::parse(&format!("{fits}a")).unwrap_err();
    assert_eq!(error.to_string(), "found 257 bytes at byte 0, expected at most 256");

    let nested = |depth: usize| format!("{}attributes:a{}", "(".repeat(depth), ")".repeat(depth));
    assert!(Filter::parse(&nested(Filter::MAX_DEPTH)).is_ok());
    let error = Filter::parse(&nested(Filter::MAX_DEPTH + 1)).unwrap_err();
    assert_eq!((error.position, error.length), (32, 1));
}

#[test]
fn a_long_filter_prints_in_its_short_form() {
    // Each term gains two spaces in the readable form.
    let text = ["attributes.a=\"1\""; 12].join(" OR ");
    assert!(text.len() <= Filter::MAX_BYTES && text.len() + 24 > Filter::MAX_BYTES);
    assert_eq!(Filter::parse(&text).unwrap().to_string(), text);
}

#[test]
fn matches_as_google_describes() {
    let com = attributes(&[("name", "com")]);
    let net = attributes(&[("name", "net")]);
    let none = attributes(&[]);
    for (text, expected) in [
        ("attributes:name", [true, true, false]),
        ("NOT attributes:name", [false, false, true]),
        ("attributes.name = \"com\"", [true, false, false]),
        ("attributes.name = \"Com\"", [false, false, false]),
        ("attributes.name != \"com\"", [false, true, true]),
        ("NOT attributes.name != \"com\"", [true, false, false]),
        ("attributes:name AND attributes.name != \"com\"", [false, true, false]),
        ("hasPrefix(attributes.name, \"co\")", [true, false, false]),
        ("hasPrefix(attributes.name, \"\")", [true, true, false]),
        ("NOT hasPrefix(attributes.name, \"co\")", [false, true, true]),
        ("attributes.name = \"com\" OR attributes.name = \"net\"", [true, true, false]),
    ] {
        let filter = Filter::parse(text).unwrap();
        assert_eq!([&com, &net, &none].map(|a| filter.matches(a)), expected, "{text}");
    }
}

#[test]
fn contradictions_are_seen() {
    for text in [
        "attributes.a = \"x\" AND attributes.a = \"y\"",
        "attributes.a = \"x\" AND attributes.a != \"x\"",
        "attributes:a AND NOT attributes:a",
        "attributes.a = \"x\" AND -attributes:a",
        "hasPrefix(attributes.a, \"xy\") AND attributes.a = \"x\"",
        "hasPrefix(attributes.a, \"x\") AND hasPrefix(attributes.a, \"y\")",
        "hasPrefix(attributes.a, \"xy\") AND NOT hasPrefix(attributes.a, \"x\")",
        "attributes:a AND NOT hasPrefix(attributes.a, \"\")",
        "(attributes.a = \"x\" OR attributes.a = \"y\") AND attributes.a = \"z\"",
        "NOT (attributes:a OR NOT attributes:a)",
    ] {
        assert!(!Filter::parse(text).unwrap().can_match(), "{text}");
    }
    let overlap = |a, b| Filter::parse(a).unwrap().overlaps(&Filter::parse(b).unwrap());
    assert!(overlap("attributes.a = \"x\"", "hasPrefix(attributes.a, \"x\")"));
    assert!(overlap("attributes.a != \"x\"", "NOT attributes:a"));
    assert!(overlap("hasPrefix(attributes.a, \"x\")", "attributes.a != \"x\""));
    assert!(!overlap("attributes.a = \"x\"", "attributes.a = \"y\" OR NOT attributes:a"));
}

/// Keys and values that meet often, and some that need quotes and escapes.
fn word() -> BoxedStrategy<String> {
    prop_oneof![
        4 => "[ab]{1,2}",
        1 => prop::sample::select(vec!["AND", "NOT", "a b", "-", "\"", "\\", "é\u{7}\n", "\u{85}🦀"])
            .prop_map(str::to_owned),
    ]
    .boxed()
}

fn plain() -> BoxedStrategy<String> {
    "[ab]{1,2}".boxed()
}

fn expr(word: BoxedStrategy<String>) -> impl Strategy<Value = Expr> {
    let value = prop_oneof![9 => word.clone(), 1 => Just(String::new())];
    let leaf = prop_oneof![
        word.clone().prop_map(|key| Expr::Has { key }),
        (word.clone(), value.clone()).prop_map(|(key, value)| Expr::Equals { key, value }),
        (word.clone(), value.clone()).prop_map(|(key, value)| Expr::Differs { key, value }),
        (word, value).prop_map(|(key, prefix)| Expr::Prefix { key, prefix }),
    ];
    leaf.prop_recursive(5, 12, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|expr| Expr::Not(Box::new(expr))),
            prop::collection::vec(inner.clone(), 2..4).prop_map(Expr::And),
            prop::collection::vec(inner, 2..4).prop_map(Expr::Or),
        ]
    })
    .prop_filter("too long", |expr| Filter { expr: expr.clone() }.to_string().len() <= Filter::MAX_BYTES)
}

fn message() -> impl Strategy<Value = BTreeMap<String, String>> {
    prop::collection::btree_map("[ab]{1,2}", "[ab]{0,3}", 0..4)
}

/// Evaluates printed text by cutting it apart as text. Words have no spaces, quotes or parentheses.
fn naive(text: &str, message: &BTreeMap<String, String>) -> bool {
    let level = |end: usize| text[..end].matches('(').count() - text[..end].matches(')').count();
    for (operator, is_and) in [(" AND ", true), (" OR ", false)] {
        let cut = text.match_indices(operator).find(|(at, _)| level(*at) == 0);
        if let Some((at, _)) = cut {
            let (left, right) = (&text[..at], &text[at + operator.len()..]);
            let (left, right) = (naive(left, message), naive(right, message));
            return if is_and { left && right } else { left || right };
        }
    }
    if let Some(rest) = text.strip_prefix("NOT ") {
        return !naive(rest, message);
    }
    if let Some(inner) = text.strip_prefix("(") {
        return naive(&inner[..inner.len() - 1], message);
    }
    let parts: Vec<&str> = text.split(['"', ' ', ',', ':', '.', ')']).collect();
    let value = message.get(parts[1]);
    if text.starts_with("hasPrefix") {
        value.is_some_and(|value| value.find(parts[4]) == Some(0))
    } else if text.contains("!=") {
        value.is_none_or(|value| value != parts[4])
    } else if text.contains('=') {
        value.is_some_and(|value| value == parts[4])
    } else {
        value.is_some()
    }
}

/// Prints with parentheses, spaces and escapes as `noise` has it.
fn noisy(expr: &Expr, noise: &mut impl Iterator<Item = u8>) -> String {
    fn string(text: &str, noise: &mut impl Iterator<Item = u8>) -> String {
        let mut out = String::from("\"");
        for c in text.chars() {
            let code = u32::from(c);
            match noise.next().unwrap() % 4 {
                0 => out += &format!("\\U{code:08x}"),
                1 if code < 0x10000 => out += &format!("\\u{code:04X}"),
                2 if code < 256 => out += &format!("\\{code:03o}"),
                3 if !c.is_control() && c != '"' && c != '\\' => out.push(c),
                _ if code < 256 => out += &format!("\\x{code:02x}"),
                _ => out.push(c),
            }
        }
        out + "\""
    }
    let space = |noise: &mut dyn Iterator<Item = u8>| ["", " ", "\n\t"][noise.next().unwrap() as usize % 3];
    let text = match expr {
        Expr::Has { key } => format!("attributes:{}{}", space(noise), string(key, noise)),
        Expr::Equals { key, value } | Expr::Differs { key, value } => {
            let operator = if matches!(expr, Expr::Equals { .. }) { "=" } else { "!=" };
            let key = string(key, noise);
            format!("attributes.{key}{}{operator}{}{}", space(noise), space(noise), string(value, noise))
        }
        Expr::Prefix { key, prefix } => {
            let key = string(key, noise);
            format!("hasPrefix(attributes.{key},{}{})", space(noise), string(prefix, noise))
        }
        Expr::Not(inner) => {
            let not = ["-", "NOT", "NOT "][noise.next().unwrap() as usize % 3];
            format!("{not}({})", noisy(inner, noise))
        }
        Expr::And(terms) | Expr::Or(terms) => {
            let operator = if matches!(expr, Expr::And(_)) { "AND" } else { "OR" };
            let terms: Vec<_> = terms.iter().map(|term| format!("({})", noisy(term, noise))).collect();
            terms.join(operator)
        }
    };
    if noise.next().unwrap() < 64 { format!("({text})") } else { text }
}

proptest! {
    #[test]
    fn print_then_parse_is_the_identity(expr in expr(word())) {
        let filter = Filter { expr };
        prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
    }

    #[test]
    fn every_spelling_parses_to_the_same(expr in expr(word()), noise in prop::collection::vec(any::<u8>(), 64)) {
        let text = noisy(&expr, &mut noise.into_iter().cycle());
        if text.len() <= Filter::MAX_BYTES {
            prop_assert_eq!(Filter::parse(&text), Ok(Filter { expr }), "{}", text);
        }
    }

    #[test]
    fn matching_agrees_with_the_naive_evaluator(expr in expr(plain()), message in message()) {
        let mut text = String::new();
        print::write(&expr, &mut text, print::READABLE).unwrap();
        let filter = Filter { expr };
        prop_assert_eq!(filter.matches(&message), naive(&text, &message), "{}", text);
    }

    #[test]
    fn what_a_message_passes_is_possible(a in expr(plain()), b in expr(plain()), message in message()) {
        let (a, b) = (Filter { expr: a }, Filter { expr: b });
        if a.matches(&message) {
            prop_assert!(a.can_match());
            prop_assert!(!b.matches(&message) || a.overlaps(&b));
        }
    }

    #[test]
    fn any_text_ends_without_a_panic(text in any::<String>()) {
        let _ = Filter::parse(&text);
    }

    #[test]
    fn any_likely_text_ends_without_a_panic_and_prints_as_a_filter(
        parts in prop::collection::vec(prop::sample::select(vec![
            "attributes", ":", ".", "a", "\"", "\"b\"", "=", "!=", " ", "AND", "OR", "NOT", "-", "(", ")", "hasPrefix", ",",
            "\\", "\\x", "é", "attributes:a", "attributes.a=\"\\x41\"", " AND ", " OR ",
        ]), 0..40),
    ) {
        let text = parts.concat();
        match Filter::parse(&text) {
            Ok(filter) => {
                let printed = filter.to_string();
                prop_assert!(printed.len() <= Filter::MAX_BYTES);
                prop_assert_eq!(Filter::parse(&printed), Ok(filter));
            }
            Err(error) => prop_assert!(text.get(error.position..error.position + error.length).is_some()),
        }
    }

    #[test]
    fn what_is_parsed_prints_within_the_limit(parts in prop::collection::vec(prop::sample::select(vec![
        "attributes.a=\"\"", "attributes:b", "-(attributes:a AND attributes:c)", "(attributes:a OR -attributes:b)", "hasPrefix(attributes.a,\"\")",
    ]), 8..14)) {
        for operator in [" AND ", " OR "] {
            let text = parts.join(operator);
            if text.len() <= Filter::MAX_BYTES {
                let filter = Filter::parse(&text).unwrap();
                prop_assert!(filter.to_string().len() <= Filter::MAX_BYTES);
                prop_assert_eq!(Filter::parse(&filter.to_string()), Ok(filter));
            }
        }
    }
}
