//! The word being read.

use unicode_normalization_alignments::char::canonical_combining_class;

use super::vocabulary::MAX_WORD_BYTES;

/// Words with more characters are one unknown token, as in every BERT tokenizer.
pub(super) const MAX_WORD_CHARACTERS: usize = 100;

/// The normalised characters of one word; of a word that is too long, the first ones.
pub(super) struct Word {
    bytes: [u8; MAX_WORD_BYTES],
    len: usize,
    characters: usize,
    /// No mark is moved to an offset before this one.
    fixed: usize,
}

impl Word {
    pub(super) fn new() -> Self {
        Self { bytes: [0; MAX_WORD_BYTES], len: 0, characters: 0, fixed: 0 }
    }

    pub(super) fn clear(&mut self) {
        (self.len, self.characters, self.fixed) = (0, 0, 0);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.characters == 0
    }

    pub(super) fn too_long(&self) -> bool {
        self.characters > MAX_WORD_CHARACTERS
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Counts a character, and says whether there is room for it.
    fn count(&mut self) -> bool {
        let room = self.characters < MAX_WORD_CHARACTERS;
        self.characters = (self.characters + 1).min(MAX_WORD_CHARACTERS + 1);
        room
    }

    pub(super) fn push_ascii(&mut self, byte: u8) {
        if self.count() {
            self.bytes[self.len] = byte;
            self.len += 1;
        }
    }

    pub(super) fn push(&mut self, c: char) {
        if self.count() {
            self.len += c.encode_utf8(&mut self.bytes[self.len..]).len();
        }
    }

    /// Fixes the order of the marks so far: later marks are not moved before them.
    pub(super) fn end_marks(&mut self) {
        self.fixed = self.len;
    }

    /// Adds a combining mark in canonical order: before the marks of a higher class that have no character of class 0
    /// between them and it (Unicode Standard, section 3.11, D109).
    pub(super) fn insert_mark(&mut self, c: char, class: u8) {
        if !self.count() {
            return;
        }
        let movable = std::str::from_utf8(&self.bytes[self.fixed..self.len]).unwrap_or_default();
        let higher: usize =
            movable.chars().rev().take_while(|&mark| canonical_combining_class(mark) > class).map(char::len_utf8).sum();
        let at = self.len - higher;
        let len = c.len_utf8();
        self.bytes.copy_within(at..self.len, at + len);
        c.encode_utf8(&mut self.bytes[at..]);
        self.len += len;
    }
}
