//! Results of measurements.

use std::fmt::Write;

use serde::Serialize;
use serde_json::{Map, Value, json};

/// The result of one measurement, or of several.
#[derive(Debug, Default)]
pub(super) struct BenchReport {
    /// Tables and lines for people.
    pub(super) text: String,
    pub(super) ratios: Vec<Ratio>,
    json: Map<String, Value>,
}

/// The speed of this project divided by that of something else, measured side by side in one run.
#[derive(Debug, Serialize)]
pub(super) struct Ratio {
    pub(super) name: String,
    pub(super) value: f64,
}

impl BenchReport {
    /// `name` becomes the key of `json`, which holds everything that `text` tells.
    pub(super) fn new(name: &str, text: String, ratios: Vec<Ratio>, json: Value) -> Self {
        Self { text, ratios, json: Map::from_iter([(name.to_owned(), json)]) }
    }

    pub(super) fn all(reports: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for report in reports {
            if !all.text.is_empty() {
                all.text.push('\n');
            }
            all.text += &report.text;
            all.ratios.extend(report.ratios);
            all.json.extend(report.json);
        }
        all
    }

    pub(super) fn json(&self) -> Value {
        let mut json = self.json.clone();
        json.insert("machine".to_owned(), machine());
        json.insert("ratios".to_owned(), json!(self.ratios));
        Value::Object(json)
    }
}

/// Rows of cells as aligned columns. The first row is the head; the first column is flush left.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |n| rows.iter().filter_map(|row| row.get(n)).map(|cell: &String| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|n| width(n).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (n, (cell, &width)) in row.iter().zip(&widths).enumerate() {
            let _ = if n == 0 { write!(line, "{cell:width$}") } else { write!(line, "  {cell:>width$}") };
        }
        text += line.trim_end();
        text.push('\n');
    }
    text
}

/// Three significant digits, with a comma between thousands.
pub(super) fn number(value: f64) -> String {
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut out = String::new();
    for (n, c) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n) % 3 == 0 {
            out.push(',');
        }
        out.push(c);
    }
    fraction.into_iter().for_each(|rest| {
        out.push('.');
        out += rest;
    });
    out
}

/// The processor, `null` where there is no `/proc/cpuinfo` with its name, and the CPUs that this process may use.
pub(super) fn machine() -> Value {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let isa = encoder::kernels::Isa::best().to_string();
    json!({"cpu": model.map(|(_, name)| name), "cpus": cpus, "instruction_set": isa})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_commas() {
        let numbers = [0.914, 1.0, 25.25, 941.4, 7512.3, 1_234_567.0].map(number);
        assert_eq!(numbers, ["0.91", "1.00", "25.2", "941", "7,512", "1,234,567"]);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["name", "é"], ["a", "1.50"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows), "name     é\na     1.50\n");
    }
}
