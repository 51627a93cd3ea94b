//! A plan as people read it, and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use super::{Action, Change, Plan, Step};

/// Escape sequences of a terminal, or nothing.
#[derive(Clone, Copy)]
struct Style {
    colour: bool,
}

impl Style {
    fn paint(self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

const GREEN: &str = "32";
const YELLOW: &str = "33";
const RED: &str = "31";
const DIM: &str = "2";
const BOLD: &str = "1";

impl Plan {
    /// The steps, a line or more each, and their counts.
    pub fn text(&self, colour: bool) -> String {
        let style = Style { colour };
        let mut text = String::new();
        let width = self.steps.iter().map(|step| step.id.kind.noun().len()).max().unwrap_or_default();
        for step in &self.steps {
            step.text(style, width, &mut text);
        }
        if self.is_empty() {
            text.push_str(&style.paint(GREEN, "No changes."));
            let _ = writeln!(text, " All {} resources are as declared.", self.unchanged);
            return text;
        }
        let [create, update, replace, delete] = self.counts();
        let mut counts = Vec::new();
        for (count, word, code) in [
            (create, "to create", GREEN),
            (update, "to update", YELLOW),
            (replace, "to replace", RED),
            (delete, "to delete", RED),
        ] {
            if count > 0 {
                counts.push(style.paint(code, &format!("{count} {word}")));
            }
        }
        let _ = writeln!(text, "\nPlan: {}, {} unchanged.", counts.join(", "), self.unchanged);
        text
    }

    /// How many resources are created, updated, replaced and deleted.
    pub fn counts(&self) -> [usize; 4] {
        let count = |wanted: fn(&Action) -> bool| self.steps.iter().filter(|step| wanted(&step.action)).count();
        [
            count(|action| matches!(action, Action::Create)),
            count(|action| matches!(action, Action::Update(_))),
            count(|action| matches!(action, Action::Replace { .. })),
            count(|action| matches!(action, Action::Delete)),
        ]
    }

    /// `{"steps": [{"action", "kind", "name", "changes": [{"path", "from", "to"}], "why"?, "body"?}], "create": n, …}`
    pub fn to_json(&self) -> Value {
        let [create, update, replace, delete] = self.counts();
        json!({
            "steps": self.steps.iter().map(Step::to_json).collect::<Vec<_>>(),
            "create": create,
            "update": update,
            "replace": replace,
            "delete": delete,
            "unchanged": self.unchanged,
        })
    }
}

impl Step {
    fn text(&self, style: Style, width: usize, text: &mut String) {
        let (sign, code) = match self.action {
            Action::Create => ("+", GREEN),
            Action::Update(_) => ("~", YELLOW),
            Action::Replace { .. } => ("!", RED),
            Action::Delete => ("-", RED),
            Action::Nothing => (" ", DIM),
        };
        let sign = style.paint(code, sign);
        let noun = format!("{:<width$}", self.id.kind.noun());
        let _ = write!(text, "{sign} {noun} {}", style.paint(BOLD, self.id.short()));
        match &self.action {
            Action::Create => {
                let summary = self.resource.as_ref().map(|resource| (self.id.kind.spec().summary)(&resource.body));
                let summary = summary.unwrap_or_default();
                if !summary.is_empty() {
                    let _ = write!(text, "  {}", style.paint(DIM, &summary));
                }
                text.push('\n');
            }
            Action::Update(changes) => {
                text.push('\n');
                changes.iter().for_each(|change| change.text(style, text));
            }
            Action::Replace { why, changes } => {
                let _ = writeln!(text, "  {}", style.paint(RED, why));
                changes.iter().for_each(|change| change.text(style, text));
            }
            Action::Delete => {
                let _ = writeln!(
                    text,
                    "  {}",
                    style.paint(DIM, "labelled as this deployment's, and not declared any more")
                );
            }
            Action::Nothing => text.push('\n'),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        let (action, changes) = match &self.action {
            Action::Create => ("create", &[][..]),
            Action::Update(changes) => ("update", changes.as_slice()),
            Action::Replace { changes, .. } => ("replace", changes.as_slice()),
            Action::Delete => ("delete", &[][..]),
            Action::Nothing => ("none", &[][..]),
        };
        let changes = changes.iter().map(|change| json!({"path": change.path, "from": change.from, "to": change.to}));
        let mut step = json!({
            "action": action,
            "kind": self.id.kind.spec().code,
            "name": self.id.name,
            "changes": changes.collect::<Vec<_>>(),
        });
        if let Action::Replace { why, .. } = &self.action {
            step["why"] = why.as_str().into();
        }
        if let (Action::Create | Action::Replace { .. }, Some(resource)) = (&self.action, &self.resource) {
            step["body"] = super::merged(&resource.creation, &resource.body);
        }
        step
    }
}

impl Change {
    fn text(&self, style: Style, text: &mut String) {
        let Self { path, from, to } = self;
        let line = match (from, to) {
            (Value::Null, to) => style.paint(GREEN, &format!("+ {path}: {}", shown(to))),
            (from, Value::Null) => style.paint(RED, &format!("- {path}: {}", shown(from))),
            (from, to) => {
                format!("{path}: {} → {}", style.paint(RED, &shown(from)), style.paint(GREEN, &shown(to)))
            }
        };
        let _ = writeln!(text, "    {line}");
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text:?}"),
        value => value.to_string(),
    }
}
