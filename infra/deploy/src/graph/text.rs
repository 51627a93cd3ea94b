//! The width of text, about, and lines that fit.

/// How wide a text is, in hundredths of the font's size: about the advance widths of DejaVu Sans. Fonts of screens
/// differ; few are wider.
pub(super) fn width(text: &str) -> f64 {
    let width = |c: char| match c {
        'i' | 'j' | 'l' | '\'' => 28,
        'f' | 't' | 'I' | 'J' | '.' | ',' | ':' | ';' | '/' | ' ' | '|' | '·' => 35,
        'r' | '-' | '!' | '(' | ')' | '[' | ']' => 41,
        'c' | 'k' | 's' | 'v' | 'x' | 'y' | 'z' | '"' => 56,
        'm' | 'M' | 'W' | '@' | '%' => 98,
        'w' | '=' | '<' | '>' | '+' | '#' => 83,
        'A'..='Z' | '&' => 72,
        c if c.is_ascii() => 63,
        _ => 105,
    };
    text.chars().map(|c| f64::from(width(c))).sum()
}

/// Breaks a text into lines of at most `most` characters: after spaces, `-`, `/`, `_` and `.` where it can, anywhere
/// else.
pub(super) fn wrap(text: &str, most: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut count = 0;
    for word in text.split_inclusive([' ', '-', '/', '_', '.']) {
        let length = word.trim_end().chars().count();
        if count > 0 && count + length > most {
            lines.push(String::new());
            count = 0;
        }
        for c in word.chars() {
            if count == most && c != ' ' {
                lines.push(String::new());
                count = 0;
            }
            if let Some(line) = lines.last_mut() {
                line.push(c);
            }
            count += 1;
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_where_a_reader_would_break_them() {
        assert_eq!(wrap("short", 10), ["short"]);
        assert_eq!(wrap("ai-workloads-dead-letter", 14), ["ai-workloads-", "dead-letter"]);
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("ééé", 2), ["éé", "é"]);
    }
}
