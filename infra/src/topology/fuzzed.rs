//! Damaged declarations. How it is run: the crate `fuzz`.

use fuzz::Damaged;

use super::Topology;
use super::tests::SHIPPED;

/// The shipped declaration, and many short ones.
const SEEDS: [&str; 2] = [SHIPPED, include_str!("tests/error_cases.txt")];
const TOKENS: [&str; 19] = [
    "[[",
    "]]",
    "[",
    "]",
    "\n",
    "=",
    "\"",
    "'",
    ".",
    "{",
    "}",
    ",",
    "#",
    "{project}",
    "99999999999999999999",
    "nan",
    "[environments.staging]\n",
    "name = ",
    "\u{202e}",
];

/// A declaration is read, in each of its environments too, or its errors say where they are.
#[test]
fn declarations_are_read_or_say_what_is_wrong() {
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |damaged: &Damaged| {
            let text = damaged.text(&SEEDS, &TOKENS);
            match Topology::parse(&text, "t.toml") {
                Ok(topology) => {
                    // What an archive would hold of it is a declaration, and the same again.
                    let runtime = Topology::runtime_declaration(&text, "t.toml").unwrap_or_default();
                    assert_eq!(Topology::runtime_declaration(&runtime, "r.toml"), Ok(runtime), "{text}");
                    for environment in &topology.environments {
                        assert!(Topology::parse_environment(&text, "t.toml", environment).is_ok(), "{environment}");
                    }
                    for service in &topology.services {
                        topology.feeds(&service.name);
                        service.route(&[("kind".to_owned(), "ticket".to_owned())].into());
                    }
                }
                Err(errors) => assert!(errors.to_string().contains("t.toml")),
            }
        },
    );
}
