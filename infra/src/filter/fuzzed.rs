//! Damaged filters. How it is run: the crate `fuzz`.

use std::collections::BTreeMap;

use fuzz::Damaged;

use super::Filter;

const SEEDS: [&str; 6] = [
    r#"attributes.kind="ticket" AND -attributes:test"#,
    r#"NOT (attributes:a OR (attributes."b c" != "d" AND hasPrefix(attributes.e, "f")))"#,
    r#"attributes.a = "\101\x42\U00000043\t\"\\\'\?\`""#,
    r#"attributes:"\u307F\u3093\u306A" OR attributes."iana.org/language_tag"="en""#,
    "((((attributes:a)AND(attributes:b))))",
    r#"-hasPrefix( attributes.name ,"co" )AND attributes:AND-x"#,
];
const TOKENS: [&str; 18] = [
    "attributes",
    ":",
    ".",
    "\"",
    "=",
    "!=",
    " ",
    " AND ",
    " OR ",
    "NOT ",
    "-",
    "(",
    ")",
    "hasPrefix(",
    ",",
    "\\",
    "\\x0",
    "\u{85}",
];

/// What is a filter prints as one that is equal, matches as its printed form does, and can match what it matches. What
/// is none says where.
#[test]
fn filters_print_as_what_they_are() {
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(damaged, other, values): &(Damaged, Damaged, [u8; 4])| {
            let [text, other] = [damaged, other].map(|text| text.text(&SEEDS, &TOKENS));
            let filter = match Filter::parse(&text) {
                Ok(filter) => filter,
                Err(error) => {
                    assert!(text.is_char_boundary(error.position) && error.position + error.length <= text.len());
                    assert!(!error.to_string().contains(char::is_control));
                    return;
                }
            };
            let printed = filter.to_string();
            let again = Filter::parse(&printed);
            assert_eq!(again.as_ref(), Ok(&filter), "{printed}");
            let names = ["kind", "a", "b c", "e"];
            let contents = [None, Some("ticket"), Some("d"), Some("f\u{e9}"), Some("")];
            let pairs = names.iter().zip(values).filter_map(|(name, value)| {
                Some(((*name).to_owned(), contents[usize::from(*value) % contents.len()]?.to_owned()))
            });
            let attributes: BTreeMap<String, String> = pairs.collect();
            let matches = filter.matches(&attributes);
            assert_eq!(again.is_ok_and(|again| again.matches(&attributes)), matches, "{printed}");
            assert!(!matches || filter.can_match(), "{printed}");
            if let Ok(other) = Filter::parse(&other) {
                assert!(!(matches && other.matches(&attributes)) || filter.overlaps(&other), "{printed} and {other}");
            }
        },
    );
}
