//! Text to token ids: BERT's WordPiece tokenizer, equal to that of Hugging Face's `tokenizers` on every text.
//!
//! A text is cut at the special tokens written in it, its characters are cleaned, decomposed, stripped of accents and
//! lowercased ([`Normalizer`]), it is split into words at white space and around punctuation and ideographs, and each
//! word is split into the longest pieces that the vocabulary has. All of that happens in one pass over the text,
//! which ends as soon as the wanted number of tokens is there.
//!
//! - `characters`: the normalisation of each character, in a table whose pages are filled on first use
//! - `word`: the word being read, with its combining marks in canonical order
//! - `vocabulary`: the tokens, and the longest match
//! - `json`: reading a `tokenizer.json`

mod characters;
mod error;
mod json;
mod vocabulary;
mod word;

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use characters::{Action, Characters};
pub use error::TokenizerError;
use vocabulary::{Hashes, MAX_WORD_BYTES, Vocabulary};
use word::Word;

/// How characters are normalised before a text is split into words. The fields are those of `BertNormalizer` in a
/// `tokenizer.json`; the default is an uncased model's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Normalizer {
    /// Drop control, format and private-use characters, U+0000 and U+FFFD; tab, line feed and carriage return are
    /// spaces.
    pub clean_text: bool,
    /// Each ideograph is a word.
    pub handle_chinese_chars: bool,
    /// Decompose characters (NFD) and drop the non-spacing marks.
    pub strip_accents: bool,
    /// Lowercase, character by character.
    pub lowercase: bool,
}

impl Default for Normalizer {
    fn default() -> Self {
        Self { clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: true }
    }
}

/// The special tokens of the BERT family. They are also recognised where they are written in a text.
const SPECIAL: [&str; 5] = ["[PAD]", UNKNOWN, CLS, SEP, "[MASK]"];
const UNKNOWN: &str = "[UNK]";
const CLS: &str = "[CLS]";
const SEP: &str = "[SEP]";

/// A BERT WordPiece tokenizer.
///
/// ```
/// use encoder::{Normalizer, Tokenizer};
///
/// let vocabulary = &b"[UNK]\n[CLS]\n[SEP]\nhell\n##o\n!\n"[..];
/// let tokenizer = Tokenizer::from_vocabulary(vocabulary, Normalizer::default())?;
/// let mut ids = Vec::new();
/// tokenizer.encode_into("Héllo!", 256, &mut ids);
/// assert_eq!(ids, [1, 3, 4, 5, 2]);
/// # Ok::<(), encoder::TokenizerError>(())
/// ```
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    normalizer: Normalizer,
    characters: Characters,
    special: Vec<(&'static str, u32)>,
    unknown: u32,
    first: u32,
    last: u32,
}

impl Tokenizer {
    /// A tokenizer with these tokens, one a line in the order of their ids, in UTF-8. It needs `[UNK]`, `[CLS]` and
    /// `[SEP]`; continuing pieces start with `##`. Together with `normalizer` the vocabulary is all that makes a
    /// tokenizer.
    ///
    /// # Errors
    /// When the vocabulary is not UTF-8, has an empty or doubled token, lacks one of the three, or is unreasonably
    /// large.
    pub fn from_vocabulary(
        vocabulary: impl Into<Cow<'static, [u8]>>,
        normalizer: Normalizer,
    ) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::new(vocabulary.into())?;
        let needed = |token| vocabulary.id(token).ok_or(TokenizerError::MissingToken { token });
        Ok(Self {
            unknown: needed(UNKNOWN)?,
            first: needed(CLS)?,
            last: needed(SEP)?,
            special: SPECIAL.into_iter().filter_map(|token| Some((token, vocabulary.id(token)?))).collect(),
            characters: Characters::new(normalizer),
            normalizer,
            vocabulary,
        })
    }

    /// The tokenizer that the text of a `tokenizer.json` describes, which must be of the BERT WordPiece family. Its
    /// `truncation` and `padding` are ignored: truncation is the caller's, and nothing is padded.
    ///
    /// # Errors
    /// [`TokenizerError::Unsupported`] with the field that asks for something else; those of
    /// [`from_vocabulary`](Self::from_vocabulary).
    pub fn from_json(text: &[u8]) -> Result<Self, TokenizerError> {
        let (vocabulary, normalizer) = json::read(text)?;
        Self::from_vocabulary(vocabulary, normalizer)
    }

    /// The tokens in the order of their ids.
    pub fn vocabulary(&self) -> impl ExactSizeIterator<Item = &str> {
        self.vocabulary.tokens()
    }

    /// How characters are normalised.
    pub fn normalizer(&self) -> Normalizer {
        self.normalizer
    }

    /// Appends `[CLS]`, the tokens of `text` and `[SEP]` to `out`, at most `max` tokens in all (2 if it is less), and
    /// returns how many. What is left of a text after `max` tokens is not read; a text that makes few tokens is read
    /// once, in linear time and constant memory.
    pub fn encode_into(&self, text: &str, max: usize, out: &mut Vec<u32>) -> usize {
        let start = out.len();
        // Where `[SEP]` has to be at the latest.
        let end = start.saturating_add(max.max(2) - 1);
        out.push(self.first);
        let mut run = Run { tokenizer: self, hashes: [0; MAX_WORD_BYTES], end, out };
        run.text(text);
        out.truncate(end);
        out.push(self.last);
        out.len() - start
    }

    /// The special token that starts here.
    fn special(&self, text: &[u8]) -> Option<(usize, u32)> {
        let (token, id) = self.special.iter().find(|(token, _)| text.starts_with(token.as_bytes()))?;
        Some((token.len(), *id))
    }
}

/// The state of encoding one text.
struct Run<'a> {
    tokenizer: &'a Tokenizer,
    hashes: Hashes,
    end: usize,
    out: &'a mut Vec<u32>,
}

impl Run<'_> {
    fn full(&self) -> bool {
        self.out.len() >= self.end
    }

    fn text(&mut self, text: &str) {
        let bytes = text.as_bytes();
        let ascii = self.tokenizer.characters.ascii();
        let mut word = Word::new();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if let Some(letter) = ascii.letter(byte) {
                at += 1;
                word.push_ascii(letter);
                if word.too_long() {
                    at += ascii.letters(&bytes[at..]);
                }
            } else if byte.is_ascii() {
                at += 1;
                match ascii.action(byte) {
                    Action::Drop => {}
                    Action::Space => self.end_word(&mut word),
                    action => {
                        self.end_word(&mut word);
                        if let Some((len, id)) = self.special_token(byte, &bytes[at - 1..]) {
                            self.out.push(id);
                            at += len - 1;
                        } else {
                            self.apply(action, &[], &mut word);
                        }
                    }
                }
                if self.full() {
                    return;
                }
            } else {
                let Some(c) = text.get(at..).and_then(|rest| rest.chars().next()) else {
                    return;
                };
                at += c.len_utf8();
                let (action, expansions) = self.tokenizer.characters.action(c);
                self.apply(action, expansions, &mut word);
                if self.full() {
                    return;
                }
            }
        }
        self.end_word(&mut word);
    }

    fn special_token(&self, byte: u8, text: &[u8]) -> Option<(usize, u32)> {
        if byte == b'[' { self.tokenizer.special(text) } else { None }
    }

    fn apply(&mut self, action: Action, expansions: &[Action], word: &mut Word) {
        match action {
            Action::Keep(c) => word.push(c),
            Action::KeepMark(c, class) => word.insert_mark(c, class),
            Action::Drop => {}
            Action::DropStarter => word.end_marks(),
            Action::Space => self.end_word(word),
            Action::Alone(c) => {
                self.end_word(word);
                word.push(c);
                self.end_word(word);
            }
            Action::Several { start, len } => {
                let several = usize::from(start)..usize::from(start) + usize::from(len);
                for action in expansions.get(several).unwrap_or_default() {
                    self.apply(*action, &[], word);
                }
            }
        }
    }

    fn end_word(&mut self, word: &mut Word) {
        if !word.is_empty() {
            let before = self.out.len();
            let known = !word.too_long() && self.tokenizer.vocabulary.split(word.bytes(), &mut self.hashes, self.out);
            if !known {
                self.out.truncate(before);
                self.out.push(self.tokenizer.unknown);
            }
        }
        word.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKENS: &str = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n##b\n##bc\n!\n";

    fn ids(text: &str, max: usize) -> Vec<u32> {
        let mut out = vec![7];
        let tokenizer = Tokenizer::from_vocabulary(TOKENS.as_bytes(), Normalizer::default()).unwrap();
        let count = tokenizer.encode_into(text, max, &mut out);
        assert_eq!((out.len(), out.remove(0)), (count + 1, 7), "appends, and counts that");
        out
    }

    #[test]
    fn splits_into_the_longest_pieces() {
        assert_eq!(ids("abbc abcb! z", 256), [2, 5, 6, 7, 5, 7, 6, 8, 1, 3]);
    }

    #[test]
    fn keeps_to_the_maximum_and_always_has_both_ends() {
        assert_eq!(ids("abb a", 4), [2, 5, 6, 3]);
        assert_eq!(ids("abb a", 3), [2, 5, 3]);
        assert_eq!(ids("abb a", 0), [2, 3]);
        assert_eq!(ids("", 256), [2, 3]);
        assert_eq!(ids("a", usize::MAX), [2, 5, 3]);
    }

    #[test]
    fn sees_special_tokens_in_a_text() {
        assert_eq!(ids("a[MASK]ab[sep][SEP", 256), [2, 5, 4, 5, 6, 1, 1, 1, 1, 1, 3]);
    }

    #[test]
    fn a_vocabulary_is_checked() {
        let error = |text: &'static str| {
            Tokenizer::from_vocabulary(text.as_bytes(), Normalizer::default()).unwrap_err().to_string()
        };
        assert!(error("[UNK]\n[CLS]\na").contains("[SEP]"));
        assert!(error("[UNK]\n\n[CLS]\n[SEP]").contains("id 1 (line 2"));
        assert!(error("[UNK]\n[CLS]\n[SEP]\na\n[CLS]\n").contains("ids 1 and 4"));
        let bytes = &b"[UNK]\n\xff"[..];
        let error = Tokenizer::from_vocabulary(bytes, Normalizer::default()).unwrap_err();
        assert!(matches!(error, TokenizerError::NotUtf8 { at: 6 }));
    }

    #[test]
    fn gives_the_vocabulary_back() {
        let tokenizer = Tokenizer::from_vocabulary(TOKENS.as_bytes(), Normalizer::default()).unwrap();
        let lines: String = tokenizer.vocabulary().map(|token| format!("{token}\n")).collect();
        assert_eq!(lines, TOKENS);
        let without_end = TOKENS.trim_end().as_bytes();
        let tokenizer = Tokenizer::from_vocabulary(without_end, Normalizer::default()).unwrap();
        assert_eq!(tokenizer.vocabulary().last(), Some("!"));
        assert_eq!(tokenizer.vocabulary().len(), 9);
    }
}
