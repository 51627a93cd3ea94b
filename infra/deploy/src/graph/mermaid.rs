//! The picture as Mermaid text.

use std::fmt::Write as _;

use super::model::{Graph, Kind, Line, Node};

/// Colours that are read on white and on black.
const CLASSES: [(&str, &str); 6] = [
    ("topic", "#0969da"),
    ("subscription", "#0a7ea4"),
    ("trigger", "#9a6700"),
    ("service", "#8250df"),
    ("bucket", "#1a7f37"),
    ("dead", "#cf222e"),
];

pub(super) fn write(graph: &Graph) -> String {
    let mut out = "flowchart LR\n".to_owned();
    for (index, node) in graph.nodes.iter().enumerate() {
        let (open, close) = match node.kind {
            Kind::Topic => ("([", "])"),
            Kind::Bucket => ("[(", ")]"),
            Kind::Trigger => ("{{", "}}"),
            Kind::Pull | Kind::Push | Kind::Service => ("[", "]"),
        };
        writeln!(out, "    n{index}{open}\"{}\"{close}:::{}", label(node), class(node)).ok();
    }
    for (index, node) in graph.nodes.iter().enumerate() {
        if let Some(topic) = node.beneath {
            writeln!(out, "    n{topic} --> n{index}").ok();
        }
    }
    for edge in &graph.edges {
        let arrow = if edge.dead { "-. dead letters .->" } else { "-->" };
        writeln!(out, "    n{} {arrow} n{}", edge.from, edge.to).ok();
    }
    for note in &graph.notes {
        writeln!(out, "    %% {}", note.replace(char::is_control, " ")).ok();
    }
    for (class, colour) in CLASSES {
        writeln!(out, "    classDef {class} stroke:{colour},stroke-width:2px").ok();
    }
    out
}

fn label(node: &Node) -> String {
    let mut label = format!("{}<br/><b>{}</b>", node.kind.label(), escape(&node.name));
    for line in &node.lines {
        let line = match line {
            Line::Plain(text) | Line::Filter(text) => escape(text),
            Line::Route(filter, task) => format!("{} → <b>{}</b>", escape(filter), escape(task)),
            Line::Otherwise(task) => format!("every other message → <b>{}</b>", escape(task)),
        };
        write!(label, "<br/>{line}").ok();
    }
    label
}

fn class(node: &Node) -> &'static str {
    match node.kind {
        _ if node.dead => "dead",
        Kind::Topic => "topic",
        Kind::Pull | Kind::Push => "subscription",
        Kind::Trigger => "trigger",
        Kind::Service => "service",
        Kind::Bucket => "bucket",
    }
}

/// As a quoted label takes it: entities begin with `#`,
/// <https://mermaid.js.org/syntax/flowchart.html#entity-codes-to-escape-characters>.
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            c if c.is_alphanumeric() || " .:=-_/,()·".contains(c) => out.push(c),
            c => write!(out, "#{};", u32::from(c)).unwrap_or_default(),
        }
    }
    out
}
