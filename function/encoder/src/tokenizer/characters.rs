//! Normalisation and word splitting as one table from character to action.
//!
//! The Unicode data must be what Hugging Face's `tokenizers` has, or characters newer than it give other tokens:
//! categories are from Unicode 8 and decompositions from Unicode 9, while white space and lowercase letters are the
//! standard library's.

use std::sync::OnceLock;

use unicode_categories::UnicodeCategories;
use unicode_normalization_alignments::char::{canonical_combining_class, decompose_canonical};

use super::Normalizer;

/// What a character does to the word being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    Drop,
    /// Nothing but to end a series of combining marks: a dropped mark whose combining class is 0.
    DropStarter,
    /// Ends the word.
    Space,
    /// This character belongs to the word.
    Keep(char),
    /// This combining mark belongs to the word, in the order of its combining class.
    KeepMark(char, u8),
    /// This character is a word.
    Alone(char),
    /// All of these, in the page's list of expansions.
    Several {
        /// The first.
        start: u16,
        /// How many.
        len: u8,
    },
}

const PAGE: usize = 128;
const PAGES: usize = (char::MAX as usize + 1).div_ceil(PAGE);

/// The action of every character, filled a page at a time when a character of the page is first met: the whole table
/// would take a tenth of a second and megabytes, and a text needs a few pages.
#[derive(Debug)]
pub(super) struct Characters {
    normalizer: Normalizer,
    ascii: Ascii,
    pages: Box<[OnceLock<Box<Page>>]>,
}

#[derive(Debug)]
struct Page {
    actions: [Action; PAGE],
    expansions: Vec<Action>,
}

impl Characters {
    pub(super) fn new(normalizer: Normalizer) -> Self {
        Self {
            normalizer,
            ascii: Ascii::new(normalizer),
            pages: std::iter::repeat_with(OnceLock::new).take(PAGES).collect(),
        }
    }

    pub(super) fn ascii(&self) -> &Ascii {
        &self.ascii
    }

    /// The action for `c`, and the list that [`Action::Several`] refers to.
    pub(super) fn action(&self, c: char) -> (Action, &[Action]) {
        let (page, at) = (c as usize / PAGE, c as usize % PAGE);
        let page = self.pages[page].get_or_init(|| Box::new(Page::new(page, self.normalizer)));
        (page.actions[at], &page.expansions)
    }
}

impl Page {
    fn new(page: usize, normalizer: Normalizer) -> Self {
        let mut expansions = Vec::new();
        let mut several = Vec::new();
        let actions = std::array::from_fn(|at| {
            // Surrogates have no character and are never asked for.
            let Some(c) = char::from_u32((page * PAGE + at) as u32) else {
                return Action::Drop;
            };
            several.clear();
            actions(c, normalizer, &mut several);
            match several[..] {
                [] => Action::Drop,
                [action] => action,
                [Action::Space, Action::Keep(c), Action::Space] => Action::Alone(c),
                // The longest expansion has 6 actions, so a page has at most 768.
                _ => {
                    let start = expansions.len() as u16;
                    expansions.extend_from_slice(&several);
                    Action::Several { start, len: several.len() as u8 }
                }
            }
        });
        Self { actions, expansions }
    }
}

/// The steps of `BertNormalizer` and `BertPreTokenizer`, in their order, for one character.
fn actions(c: char, normalizer: Normalizer, out: &mut Vec<Action>) {
    let space = matches!(c, '\t' | '\n' | '\r');
    if normalizer.clean_text && !space && (c == '\0' || c == '\u{fffd}' || c.is_other()) {
        return;
    }
    if space || c.is_whitespace() {
        out.push(Action::Space);
        return;
    }
    let ideograph = normalizer.handle_chinese_chars && is_ideograph(c);
    if ideograph {
        out.push(Action::Space);
    }
    if normalizer.strip_accents {
        decompose_canonical(c, |c| match (canonical_combining_class(c), c.is_mark_nonspacing()) {
            (0, true) => out.push(Action::DropStarter),
            (_, true) => {}
            (class, false) => lowercase(c, class, normalizer, out),
        });
    } else {
        lowercase(c, 0, normalizer, out);
    }
    if ideograph {
        out.push(Action::Space);
    }
}

fn lowercase(c: char, class: u8, normalizer: Normalizer, out: &mut Vec<Action>) {
    if normalizer.lowercase {
        out.extend(c.to_lowercase().map(|c| split(c, class)));
    } else {
        out.push(split(c, class));
    }
}

fn split(c: char, class: u8) -> Action {
    if c.is_whitespace() {
        Action::Space
    } else if c.is_ascii_punctuation() || c.is_punctuation() {
        Action::Alone(c)
    } else if class != 0 {
        Action::KeepMark(c, class)
    } else {
        Action::Keep(c)
    }
}

/// The blocks that BERT takes for Chinese: the ideographs known in 2018, without kana and hangul.
fn is_ideograph(c: char) -> bool {
    matches!(
        c,
        '\u{3400}'..='\u{4dbf}'
            | '\u{4e00}'..='\u{9fff}'
            | '\u{f900}'..='\u{faff}'
            | '\u{20000}'..='\u{2a6df}'
            | '\u{2a700}'..='\u{2b73f}'
            | '\u{2b740}'..='\u{2b81f}'
            | '\u{2b920}'..='\u{2ceaf}'
            | '\u{2f800}'..='\u{2fa1f}'
    )
}

/// The actions of the ASCII characters, in a form that is quick to read: most texts have few others.
#[derive(Debug)]
pub(super) struct Ascii {
    /// For characters that belong to a word what they become, for other bytes [`NO_LETTER`].
    letters: [u8; 256],
    actions: [Action; 128],
}

const NO_LETTER: u8 = 0xff;

impl Ascii {
    fn new(normalizer: Normalizer) -> Self {
        let page = Page::new(0, normalizer);
        let mut letters = [NO_LETTER; 256];
        for (letter, action) in letters.iter_mut().zip(page.actions) {
            if let Action::Keep(c) = action {
                *letter = c as u8;
            }
        }
        Self { letters, actions: page.actions }
    }

    /// What `byte` becomes, if it is a character that belongs to a word.
    pub(super) fn letter(&self, byte: u8) -> Option<u8> {
        let letter = self.letters[usize::from(byte)];
        (letter != NO_LETTER).then_some(letter)
    }

    /// How many bytes at the start of `bytes` are characters that belong to a word.
    pub(super) fn letters(&self, bytes: &[u8]) -> usize {
        let mut len = 0;
        // Eight at a time: the bytes of one chunk do not wait for each other.
        for chunk in bytes.chunks_exact(8) {
            let all = chunk.iter().fold(true, |all, &byte| all & self.letter(byte).is_some());
            if !all {
                break;
            }
            len += chunk.len();
        }
        let rest = bytes[len..].iter().take_while(|&&byte| self.letter(byte).is_some());
        len + rest.count()
    }

    /// The action for an ASCII character; [`Action::Drop`] for any other byte.
    pub(super) fn action(&self, byte: u8) -> Action {
        self.actions.get(usize::from(byte)).copied().unwrap_or(Action::Drop)
    }
}

const _: () = assert!(PAGE == 128, "the first page is ASCII");
const _: () = assert!(size_of::<Action>() == 8);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expansion_overflows() {
        let mut longest = 0;
        let mut out = Vec::new();
        for c in '\0'..=char::MAX {
            out.clear();
            actions(c, Normalizer::default(), &mut out);
            longest = longest.max(out.len());
        }
        assert!((2..=6).contains(&longest), "{longest} actions for one character");
    }
}
