//! The picture as SVG.

use std::fmt::Write as _;

use super::layout::{EdgePath, Layout, Rect, STACK_GAP, layout};
use super::model::{Graph, Kind, Line, Node};
use super::text::{width, wrap};

/// Pixels around the picture, below it, and within a node.
const MARGIN: f64 = 24.0;
const FOOTER_HEIGHT: f64 = 40.0;
const PADDING: f64 = 14.0;

/// The longest lines of text, in characters.
const MAX_NAME_CHARS: usize = 24;
const MAX_CODE_CHARS: usize = 34;
const MAX_PLAIN_CHARS: usize = 32;

/// Sizes of text, in pixels.
const LABEL_SIZE: f64 = 9.5;
const NAME_SIZE: f64 = 13.0;
const PLAIN_SIZE: f64 = 11.0;
const CODE_SIZE: f64 = 10.5;

/// The width of a character of a monospaced font, as a part of its size.
const MONOSPACE_ADVANCE: f64 = 0.602;

/// How much wider bold text is.
const BOLD_FACTOR: f64 = 1.1;

const STYLE: &str = include_str!("style.css");

pub(super) fn draw(graph: &Graph) -> String {
    let nodes: Vec<_> = graph.nodes.iter().map(Drawn::new).collect();
    let sizes: Vec<_> = nodes.iter().map(|node| (node.width, node.height)).collect();
    let layout = layout(graph, &sizes);
    let notes = graph.notes.join(" · ");
    let legend = 250.0 + width(&notes) * PLAIN_SIZE / 100.0;
    let (right, bottom) = (layout.width.max(legend) + 2.0 * MARGIN, layout.height + 2.0 * MARGIN + FOOTER_HEIGHT);

    let mut out = Svg(String::new());
    out.line(&format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="{right:.0}" height="{bottom:.0}" viewBox="0 0 {right:.0} {bottom:.0}" role="img" aria-labelledby="title">"#
    ));
    out.line(r#"<title id="title">The way of messages through topics, subscriptions and services</title>"#);
    out.line(&format!("<style>\n{STYLE}</style>"));
    for (id, class) in [("arrow", "head"), ("arrow-dead", "head dead")] {
        out.line(&format!(
            r#"<marker id="{id}" class="{class}" viewBox="0 0 8 8" refX="7.5" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0.5 0.5 7.5 4 0.5 7.5Z"/></marker>"#
        ));
    }
    out.line(&format!(
        r#"<rect class="page" x="0.5" y="0.5" width="{:.0}" height="{:.0}" rx="12"/>"#,
        right - 1.0,
        bottom - 1.0
    ));
    out.line(&format!(r#"<g transform="translate({} {MARGIN})">"#, (right - layout.width) / 2.0));
    out.lines(graph, &layout);
    for (drawn, rect) in nodes.iter().zip(&layout.boxes) {
        out.node(drawn, *rect);
    }
    out.line("</g>");
    out.footer(bottom - FOOTER_HEIGHT / 2.0 - 6.0, right, &notes);
    out.line("</svg>");
    out.0
}

/// A node with its text in lines.
struct Drawn<'g> {
    node: &'g Node,
    name: Vec<String>,
    rows: Vec<Row>,
    width: f64,
    height: f64,
}

/// A line of text, and at its end the task that it leads to.
struct Row {
    class: &'static str,
    text: String,
    task: Option<String>,
    height: f64,
}

impl<'g> Drawn<'g> {
    fn new(node: &'g Node) -> Self {
        let name = wrap(&node.name, MAX_NAME_CHARS);
        let rows: Vec<_> = node.lines.iter().flat_map(rows).collect();
        let label = 18.0 + width(node.kind.label()) * 1.45 * LABEL_SIZE / 100.0;
        let names = name.iter().map(|line| width(line) * BOLD_FACTOR * NAME_SIZE / 100.0);
        let widths = names.chain(rows.iter().map(Row::width)).fold(label, f64::max);
        let rows_height: f64 = rows.iter().map(|row| row.height).sum();
        let height = 28.0 + 17.0 * name.len() as f64 + rows_height + if rows.is_empty() { 8.0 } else { 14.0 };
        Self { node, name, rows, width: (widths + 2.0 * PADDING).ceil(), height }
    }
}

impl Row {
    fn width(&self) -> f64 {
        let text = match self.class {
            "code" => self.text.chars().count() as f64 * MONOSPACE_ADVANCE * CODE_SIZE,
            _ => width(&self.text) * PLAIN_SIZE / 100.0,
        };
        text + self.task.as_ref().map_or(0.0, |task| 30.0 + chip(task))
    }
}

/// The width of a task's name in its frame.
fn chip(task: &str) -> f64 {
    14.0 + width(task) * PLAIN_SIZE / 100.0
}

fn rows(line: &Line) -> Vec<Row> {
    let (class, text, most, task) = match line {
        Line::Plain(text) => ("plain", text.as_str(), MAX_PLAIN_CHARS, None),
        Line::Filter(text) => ("code", text.as_str(), MAX_CODE_CHARS, None),
        Line::Route(filter, task) => ("code", filter.as_str(), MAX_CODE_CHARS, Some(task)),
        Line::Otherwise(task) => ("plain", "every other message", MAX_PLAIN_CHARS, Some(task)),
    };
    let lines = wrap(text, most);
    let last = lines.len() - 1;
    let row = |(index, text)| {
        let task = task.filter(|_| index == last).cloned();
        Row { class, text, height: if task.is_some() { 22.0 } else { 16.0 }, task }
    };
    lines.into_iter().enumerate().map(row).collect()
}

struct Svg(String);

impl Svg {
    fn line(&mut self, text: &str) {
        self.0.push_str(text);
        self.0.push('\n');
    }

    fn text(&mut self, class: &str, x: f64, y: f64, text: &str) {
        self.line(&format!(r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{}</text>"#, escape(text)));
    }

    fn lines(&mut self, graph: &Graph, layout: &Layout) {
        // Dead letters below the rest.
        for dead in [true, false] {
            for (edge, path) in graph.edges.iter().zip(&layout.paths).filter(|(edge, _)| edge.dead == dead) {
                self.edge(&path_data(path), edge.dead);
            }
        }
        for (node, rect) in graph.nodes.iter().zip(&layout.boxes) {
            if node.beneath.is_some() {
                let (x, y) = (rect.x + 24.0, rect.y - STACK_GAP);
                self.edge(&format!("M{x:.1} {y:.1}V{:.1}", rect.y - 1.0), false);
            }
        }
    }

    fn edge(&mut self, path: &str, dead: bool) {
        let (class, arrow) = if dead { ("way dead", "arrow-dead") } else { ("way", "arrow") };
        self.line(&format!(r#"<path class="{class}" d="{path}" marker-end="url(#{arrow})"/>"#));
    }

    fn node(&mut self, drawn: &Drawn<'_>, rect: Rect) {
        let Rect { x, y, width, height } = rect;
        let kind = drawn.node.kind;
        let class = if drawn.node.dead { "dead" } else { class(kind) };
        self.line(&format!(r#"<g class="{class}">"#));
        self.line(&format!(
            r#"<rect class="card" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}" rx="8"/>"#
        ));
        self.line(&format!(
            r#"<path class="edge" d="M{:.1} {y:.1}a5 8 0 0 0-4 8v{:.1}a5 8 0 0 0 4 8z"/>"#,
            x + 4.0,
            height - 16.0
        ));
        let left = x + PADDING;
        self.line(&format!(
            r#"<path class="icon" transform="translate({left:.1} {:.1})" d="{}"/>"#,
            y + 10.0,
            icon(kind)
        ));
        self.text("label", left + 18.0, y + 20.0, &kind.label().to_uppercase());
        let mut line = y + 40.0;
        for name in &drawn.name {
            self.text("name", left, line, name);
            line += 17.0;
        }
        line += 2.0;
        for row in &drawn.rows {
            self.text(row.class, left, line, &row.text);
            if let Some(task) = &row.task {
                self.task(task, x + width - PADDING, line, left + row.width() - 30.0 - chip(task));
            }
            line += row.height;
        }
        self.line("</g>");
    }

    /// A task in its frame, whose right side is given, and the arrow to it from where the text before it ends.
    fn task(&mut self, task: &str, right: f64, line: f64, text: f64) {
        let width = chip(task);
        let left = right - width;
        let middle = line - 4.0;
        self.line(&format!(r#"<path class="lead" d="M{:.1} {middle:.1}H{:.1}"/>"#, text + 8.0, left - 4.0));
        self.line(&format!(
            r#"<rect class="chip" x="{left:.1}" y="{:.1}" width="{width:.1}" height="17" rx="8.5"/>"#,
            middle - 8.5
        ));
        self.text("task", left + width / 2.0, line, task);
    }

    fn footer(&mut self, y: f64, right: f64, notes: &str) {
        for (x, dead, text) in [(MARGIN, false, "messages"), (MARGIN + 110.0, true, "dead letters")] {
            self.edge(&format!("M{x:.1} {y:.1}h28"), dead);
            self.text("plain", x + 36.0, y + 4.0, text);
        }
        self.text("plain end", right - MARGIN, y + 4.0, notes);
    }
}

fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Topic => "topic",
        Kind::Pull | Kind::Push => "subscription",
        Kind::Trigger => "trigger",
        Kind::Service => "service",
        Kind::Bucket => "bucket",
    }
}

/// Outlines of 12 by 12 pixels.
fn icon(kind: Kind) -> &'static str {
    match kind {
        Kind::Topic => {
            "M1 6h3M8 3.5 4.5 5.5M8 8.5 4.5 6.5M8 3a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0M8 9a1.5 1.5 0 1 0 3 0 1.5 1.5 0 1 0-3 0"
        }
        Kind::Pull => "M6 1v6M3.5 4.8 6 7.2 8.5 4.8M1.5 7.5v3h9v-3",
        Kind::Push => "M1 6h6.5M5 3.5 7.5 6 5 8.5M8 1.5h2.5v9H8",
        Kind::Trigger => "M7 .8 2.2 7H6L5 11.2 9.8 5H6z",
        Kind::Service => "M6 .9 10.6 3.4v5.2L6 11.1 1.4 8.6V3.4zM1.4 3.4 6 6l4.6-2.6M6 6v5.1",
        Kind::Bucket => "M1.2 2.5h9.6L9.6 10.5H2.4zM1.6 5.5h8.8",
    }
}

fn path_data(path: &EdgePath) -> String {
    let mut data = String::new();
    match path {
        EdgePath::Forward(points) => {
            if let Some((x, y)) = points.first() {
                write!(data, "M{x:.1} {y:.1}").ok();
            }
            for (index, pair) in points.windows(2).enumerate() {
                let ((x, y), (right, end)) = (pair[0], pair[1]);
                let last = index + 2 == points.len();
                let right = if last { right - 1.0 } else { right };
                if (y - end).abs() < 0.05 {
                    write!(data, "H{right:.1}").ok();
                } else {
                    let middle = (x + right) / 2.0;
                    write!(data, "C{middle:.1} {y:.1} {middle:.1} {end:.1} {right:.1} {end:.1}").ok();
                }
            }
        }
        EdgePath::Back { from, to, beneath } => {
            let (out, into) = (from.0 + 16.0, to.0 - 18.0);
            write!(data, "M{:.1} {:.1}H{:.1}", from.0, from.1, out - 8.0).ok();
            write!(data, "Q{out:.1} {:.1} {out:.1} {:.1}V{:.1}", from.1, from.1 + 8.0, beneath - 8.0).ok();
            write!(data, "Q{out:.1} {beneath:.1} {:.1} {beneath:.1}H{:.1}", out - 8.0, into + 8.0).ok();
            write!(data, "Q{into:.1} {beneath:.1} {into:.1} {:.1}V{:.1}", beneath - 8.0, to.1 + 8.0).ok();
            write!(data, "Q{into:.1} {:.1} {:.1} {:.1}H{:.1}", to.1, into + 8.0, to.1, to.0 - 1.0).ok();
        }
    }
    data
}

/// As XML takes it: https://www.w3.org/TR/xml/#charsets
fn escape(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
