//! Ratios as a bar chart.

use std::fmt::Write;

use super::report::Ratio;

/// Sizes in pixels.
const ROW_HEIGHT: usize = 26;
const LABELS_WIDTH: f64 = 430.0;
const BARS_WIDTH: f64 = 360.0;

/// A bar for each ratio, of which the longest is as wide as the chart, and a line at 1.
pub(super) fn bars(ratios: &[Ratio]) -> String {
    let most = ratios.iter().map(|ratio| ratio.value).fold(1.0, f64::max);
    let scale = BARS_WIDTH / most;
    let (width, height) = (LABELS_WIDTH + BARS_WIDTH + 70.0, ratios.len() * ROW_HEIGHT + 34);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" \
         font-family=\"system-ui, sans-serif\" font-size=\"13\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n"
    );
    for (n, Ratio { name, value }) in ratios.iter().enumerate() {
        let (top, long) = (n * ROW_HEIGHT + 8, value.max(0.0) * scale);
        let _ = writeln!(
            svg,
            "<text x=\"{:.0}\" y=\"{}\" text-anchor=\"end\">{}</text>\
             <rect x=\"{LABELS_WIDTH:.0}\" y=\"{top}\" width=\"{long:.1}\" height=\"{}\" fill=\"#2f6fb3\"/>\
             <text x=\"{:.1}\" y=\"{}\">{value:.2} ×</text>",
            LABELS_WIDTH - 8.0,
            top + 14,
            escape(name),
            ROW_HEIGHT - 8,
            LABELS_WIDTH + long + 6.0,
            top + 14,
        );
    }
    let one = LABELS_WIDTH + scale;
    let bottom = height - 22;
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" y1=\"4\" x2=\"{one:.1}\" y2=\"{bottom}\" stroke=\"#c33\" stroke-dasharray=\"4 3\"/>\
         <text x=\"{one:.1}\" y=\"{}\" text-anchor=\"middle\" fill=\"#c33\">as quick</text>\n</svg>",
        bottom + 14,
    );
    svg
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_ratios() {
        let ratios = [("a < b", 2.0), ("c", 0.5)].map(|(name, value)| Ratio { name: name.to_owned(), value });
        let svg = bars(&ratios);
        assert!(svg.contains("a &lt; b") && svg.contains("2.00 ×"), "{svg}");
        assert!(svg.contains("width=\"360.0\"") && svg.contains("width=\"90.0\""), "{svg}");
        assert!(bars(&[]).ends_with("</svg>\n"));
    }
}
