//! Text to token ids: BERT's WordPiece, equal to Hugging Face's `tokenizers` on every text.
//!
//! The steps are those of its `BertNormalizer`, `BertPreTokenizer` and `WordPiece`
//! (<https://huggingface.co/docs/tokenizers/api/normalizers>): control characters go, CJK characters become words, accents are
//! stripped, letters lowered; words end at white space and punctuation; a word is cut into the longest pieces that the
//! vocabulary has. Here they run in one pass that stops when enough tokens are there, so a text of any length costs what its
//! first tokens cost. For equality the Unicode tables are the ones that `tokenizers` uses.
//!
//! Layout: `normalize`: characters in, normal characters out; `vocabulary`: pieces to ids.

mod normalize;
mod vocabulary;

use serde::{Deserialize, Serialize};

use super::ModelError;
use normalize::Class;
use vocabulary::Vocabulary;

/// Longest word in characters; longer ones are unknown.
const LONGEST_WORD: usize = 100;

/// What a `tokenizer.json` says beside its vocabulary.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenizerOptions {
    /// Control characters are dropped, white space becomes a blank.
    pub clean_text: bool,
    /// CJK characters are words of their own.
    pub handle_chinese_chars: bool,
    /// Accents are removed.
    pub strip_accents: bool,
    /// Letters are lowered.
    pub lowercase: bool,
    /// Tokens that are found in the text as they stand, before anything else.
    pub added_tokens: Vec<String>,
}

/// Cuts texts into tokens.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: Vocabulary,
    options: TokenizerOptions,
    added: Vec<u32>,
    classify: u32,
    separate: u32,
    unknown: u32,
}

impl Tokenizer {
    /// `vocabulary`: the tokens in the order of their ids, each followed by a line feed.
    pub fn new(vocabulary: &'static [u8], options: TokenizerOptions) -> Result<Self, ModelError> {
        let vocabulary = Vocabulary::new(vocabulary).map_err(|what| ModelError::new("vocabulary", what))?;
        let id = |token: &str| {
            vocabulary
                .token(token.as_bytes())
                .ok_or_else(|| ModelError::new("vocabulary", format!("there is no token `{token}`")))
        };
        if let Some(empty) = options.added_tokens.iter().find(|token| token.is_empty()) {
            return Err(ModelError::new("tokenizer", format!("added token `{empty}` is empty")));
        }
        Ok(Self {
            added: options.added_tokens.iter().map(|token| id(token)).collect::<Result<_, _>>()?,
            classify: id("[CLS]")?,
            separate: id("[SEP]")?,
            unknown: id("[UNK]")?,
            vocabulary,
            options,
        })
    }

    /// Reads the text of a `tokenizer.json` of the BERT family. Its truncation and padding do not count.
    pub fn from_json(text: &[u8]) -> Result<Self, ModelError> {
        #[derive(Deserialize)]
        struct File {
            #[serde(default)]
            added_tokens: Vec<Added>,
            normalizer: Normalizer,
            pre_tokenizer: Kind,
            model: Model,
        }
        #[derive(Deserialize)]
        struct Added {
            content: String,
            #[serde(default)]
            single_word: bool,
            #[serde(default)]
            lstrip: bool,
            #[serde(default)]
            rstrip: bool,
            #[serde(default)]
            normalized: bool,
        }
        #[derive(Deserialize)]
        struct Kind {
            r#type: String,
        }
        #[derive(Deserialize)]
        struct Normalizer {
            r#type: String,
            #[serde(default = "yes")]
            clean_text: bool,
            #[serde(default = "yes")]
            handle_chinese_chars: bool,
            strip_accents: Option<bool>,
            #[serde(default = "yes")]
            lowercase: bool,
        }
        #[derive(Deserialize)]
        struct Model {
            r#type: Option<String>,
            unk_token: String,
            continuing_subword_prefix: String,
            max_input_chars_per_word: usize,
            vocab: std::collections::HashMap<String, u32>,
        }
        fn yes() -> bool {
            true
        }
        let wrong = |what: String| ModelError::new("tokenizer.json", what);
        let file: File = serde_json::from_slice(text).map_err(|error| wrong(error.to_string()))?;
        let model_type = file.model.r#type.as_deref().unwrap_or("WordPiece");
        for (field, found, right) in [
            ("normalizer.type", file.normalizer.r#type.as_str(), "BertNormalizer"),
            ("pre_tokenizer.type", &file.pre_tokenizer.r#type, "BertPreTokenizer"),
            ("model.type", model_type, "WordPiece"),
            ("model.unk_token", &file.model.unk_token, "[UNK]"),
            ("model.continuing_subword_prefix", &file.model.continuing_subword_prefix, "##"),
            (
                "model.max_input_chars_per_word",
                &file.model.max_input_chars_per_word.to_string(),
                &LONGEST_WORD.to_string(),
            ),
        ] {
            if found != right {
                return Err(wrong(format!("`{field}` is {found}; supported: {right}")));
            }
        }
        for token in &file.added_tokens {
            if token.single_word || token.lstrip || token.rstrip || token.normalized {
                return Err(wrong(format!(
                    "added token `{}`: supported are tokens without single_word, lstrip, rstrip and normalized",
                    token.content
                )));
            }
        }
        let mut tokens = vec![None; file.model.vocab.len()];
        for (token, id) in &file.model.vocab {
            match tokens.get_mut(*id as usize) {
                Some(place @ None) if !token.contains('\n') => *place = Some(token.as_str()),
                _ => return Err(wrong(format!("`model.vocab`: id {id} of `{token}` is taken or beyond the count"))),
            }
        }
        let mut vocabulary = String::new();
        for token in tokens.into_iter().flatten() {
            vocabulary.push_str(token);
            vocabulary.push('\n');
        }
        let options = TokenizerOptions {
            clean_text: file.normalizer.clean_text,
            handle_chinese_chars: file.normalizer.handle_chinese_chars,
            strip_accents: file.normalizer.strip_accents.unwrap_or(file.normalizer.lowercase),
            lowercase: file.normalizer.lowercase,
            added_tokens: file.added_tokens.into_iter().map(|token| token.content).collect(),
        };
        Self::new(vocabulary.into_bytes().leak(), options)
    }

    /// The tokens in the order of their ids.
    pub fn vocabulary(&self) -> impl Iterator<Item = &str> {
        self.vocabulary.tokens()
    }

    /// How text is made ready for the vocabulary.
    pub fn options(&self) -> &TokenizerOptions {
        &self.options
    }

    /// Appends `[CLS]`, the tokens of `text` and `[SEP]` to `out`: at most `most` in all, of which at least the two are always
    /// there.
    pub fn encode_into(&self, text: &str, most: usize, out: &mut Vec<u32>) {
        out.push(self.classify);
        let mut words = Words {
            tokenizer: self,
            word: String::new(),
            characters: 0,
            left: most.saturating_sub(2),
            out,
        };
        let mut rest = text;
        while words.left > 0 && !rest.is_empty() {
            match self.next_added(rest) {
                (own, None) => {
                    words.text(&rest[..own]);
                    rest = &rest[own..];
                }
                (own, Some((length, id))) => {
                    words.text(&rest[..own]);
                    words.end();
                    words.push(id);
                    rest = &rest[own + length..];
                }
            }
        }
        words.end();
        out.push(self.separate);
    }

    /// Looks for an added token near the beginning of `text`: how much of it comes before, and, if one was found, its length and
    /// id. Without one, what comes before ends before an ASCII character.
    fn next_added(&self, text: &str) -> (usize, Option<(usize, u32)>) {
        // No further than is needed, so that the end of a long text costs nothing.
        const WINDOW: usize = 1024;
        let bytes = text.as_bytes();
        let ascii = bytes.iter().skip(WINDOW).position(u8::is_ascii);
        let window = ascii.map_or(bytes.len(), |at| WINDOW + at);
        let found = self.options.added_tokens.iter().zip(&self.added).filter_map(|(token, &id)| {
            let end = (window + token.len() - 1).min(bytes.len());
            Some((find(&bytes[..end], token.as_bytes())?, token.len(), id))
        });
        // The longest of those that start first, as Aho-Corasick's leftmost-longest search finds it.
        match found.min_by_key(|&(at, length, _)| (at, std::cmp::Reverse(length))) {
            Some((at, length, id)) => (at, Some((length, id))),
            None => (window, None),
        }
    }
}

fn find(text: &[u8], token: &[u8]) -> Option<usize> {
    let first = token[0];
    (0..(text.len() + 1).saturating_sub(token.len()))
        .find(|&at| text[at] == first && text[at..].starts_with(token))
}

/// The word under construction and the tokens of those before it.
struct Words<'a> {
    tokenizer: &'a Tokenizer,
    /// The first [`LONGEST_WORD`] characters.
    word: String,
    characters: usize,
    /// Tokens that still fit.
    left: usize,
    out: &'a mut Vec<u32>,
}

impl Words<'_> {
    fn push(&mut self, id: u32) {
        if self.left > 0 {
            self.out.push(id);
            self.left -= 1;
        }
    }

    fn text(&mut self, text: &str) {
        let options = &self.tokenizer.options;
        let mut rest = text;
        while !rest.is_empty() && self.left > 0 {
            // ASCII stays itself under decomposition and takes no part in the reordering of marks, so it can go ahead alone.
            let bytes = rest.as_bytes();
            let ascii = bytes.iter().take_while(|byte| byte.is_ascii()).count();
            for &byte in &bytes[..ascii] {
                let (class, byte) = normalize::ascii(byte, options);
                self.character(class, char::from(byte));
                if self.left == 0 {
                    return;
                }
            }
            rest = &rest[ascii..];
            let others = rest.find(|c: char| c.is_ascii()).unwrap_or(rest.len());
            for c in normalize::characters(&rest[..others], options) {
                self.character(normalize::class(c), c);
                if self.left == 0 {
                    return;
                }
            }
            rest = &rest[others..];
        }
    }

    fn character(&mut self, class: Class, c: char) {
        match class {
            Class::Letter => {
                if self.characters < LONGEST_WORD {
                    self.word.push(c);
                }
                self.characters += 1;
            }
            Class::Dropped => {}
            Class::Space => self.end(),
            Class::Punctuation => {
                self.end();
                self.word.push(c);
                self.characters = 1;
                self.end();
            }
        }
    }

    /// Cuts the word into its longest pieces; one that cannot be cut whole is unknown.
    fn end(&mut self) {
        if self.characters == 0 {
            return;
        }
        let first = self.out.len();
        let word = self.word.as_bytes();
        if self.characters > LONGEST_WORD || !self.tokenizer.vocabulary.pieces(word, self.left, self.out) {
            self.out.truncate(first);
            self.out.push(self.tokenizer.unknown);
        }
        self.left = self.left.saturating_sub(self.out.len() - first);
        self.word.clear();
        self.characters = 0;
    }
}

#[cfg(test)]
mod tests;
