#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn scratch() {
    let text = std::fs::read_to_string(std::env::var("T").unwrap()).unwrap();
    let t = Topology::parse(&text, "t").unwrap_or_else(|e| panic!("{e}"));
    std::fs::write("/tmp/repro/g.svg", svg(&t)).unwrap();
    std::fs::write("/tmp/repro/g.mmd", mermaid(&t)).unwrap();
}
