//! `BertNormalizer` and the character classes of `BertPreTokenizer`.

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::UnicodeNormalization;

use super::TokenizerOptions;

/// What a normal character does to words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Belongs to a word.
    Letter,
    /// Ends a word and is one.
    Punctuation,
    /// Ends a word.
    Space,
    /// Is not there.
    Dropped,
}

/// A normal ASCII character and its class.
#[inline]
pub(super) fn ascii(byte: u8, options: &TokenizerOptions) -> (Class, u8) {
    // What Rust calls white space, of which vertical tab and form feed are control characters as well.
    let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c);
    if options.clean_text && byte.is_ascii_control() && !matches!(byte, b'\t' | b'\n' | b'\r') {
        return (Class::Dropped, byte);
    }
    let class = if space {
        Class::Space
    } else if byte.is_ascii_punctuation() {
        Class::Punctuation
    } else {
        Class::Letter
    };
    (class, if options.lowercase { byte.to_ascii_lowercase() } else { byte })
}

/// The class of a normal character.
pub(super) fn class(c: char) -> Class {
    if c.is_whitespace() {
        Class::Space
    } else if c.is_ascii_punctuation() || c.is_punctuation() {
        Class::Punctuation
    } else {
        Class::Letter
    }
}

/// The normal characters of a text without ASCII, one by one.
pub(super) fn characters<'a>(text: &'a str, options: &'a TokenizerOptions) -> Box<dyn Iterator<Item = char> + 'a> {
    let clean = text.chars().filter(|&c| !options.clean_text || !dropped(c));
    let blanked = clean.map(|c| if options.clean_text && c.is_whitespace() { ' ' } else { c });
    let apart = blanked.flat_map(|c| {
        let blank = (options.handle_chinese_chars && is_chinese(c)).then_some(' ');
        blank.into_iter().chain([c]).chain(blank)
    });
    let stripped: Box<dyn Iterator<Item = char>> = if options.strip_accents {
        Box::new(apart.nfd().map(|(c, _)| c).filter(|c| !c.is_mark_nonspacing()))
    } else {
        Box::new(apart)
    };
    if options.lowercase { Box::new(stripped.flat_map(char::to_lowercase)) } else { stripped }
}

fn dropped(c: char) -> bool {
    c == '\0' || c == '\u{fffd}' || (!matches!(c, '\t' | '\n' | '\r') && c.is_other())
}

/// The blocks that BERT calls Chinese: CJK ideographs, and no kana or hangul.
fn is_chinese(c: char) -> bool {
    matches!(
        c,
        '\u{4e00}'..='\u{9fff}'
            | '\u{3400}'..='\u{4dbf}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{f900}'..='\u{faff}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}
