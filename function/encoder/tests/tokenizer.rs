//! The tokenizer gives what Hugging Face's `tokenizers` gives, on every character and on texts of every kind.

#![allow(clippy::unwrap_used)]

use std::sync::LazyLock;

use encoder::{Encoder, Normalizer, Tokenizer};
use proptest::prelude::*;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, PaddingParams, TruncationParams};

/// The embedded model's tokens, one a line.
static VOCABULARY: LazyLock<String> = LazyLock::new(|| {
    let encoder = Encoder::embedded().unwrap();
    encoder.tokenizer().vocabulary().flat_map(|token| [token, "\n"]).collect()
});
const TEXTS: &str = include_str!("data/texts.txt");
const SPECIAL: [&str; 5] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"];

const UNCASED: Normalizer =
    Normalizer { clean_text: true, handle_chinese_chars: true, strip_accents: true, lowercase: true };

/// Ours and theirs, from the same vocabulary.
struct Pair {
    ours: Tokenizer,
    theirs: tokenizers::Tokenizer,
}

/// With the default model's vocabulary.
static PAIR: LazyLock<Pair> = LazyLock::new(|| Pair::new(VOCABULARY.clone().into_bytes(), UNCASED));

/// With a vocabulary of single characters: what becomes of each, and in which order, is seen where [`PAIR`] gives
/// `[UNK]`.
static LETTERS: LazyLock<Pair> = LazyLock::new(|| {
    let all = ('\0'..='\u{2ffff}').chain('\u{e0000}'..='\u{e0fff}');
    Pair::new(letters(all), UNCASED)
});

fn letters(characters: impl Iterator<Item = char>) -> Vec<u8> {
    let mut vocabulary = SPECIAL.join("\n") + "\n";
    for c in characters.filter(|c| !c.is_whitespace()) {
        vocabulary.extend([c, '\n', '#', '#', c, '\n']);
    }
    vocabulary.into_bytes()
}

impl Pair {
    fn new(vocabulary: Vec<u8>, normalizer: Normalizer) -> Self {
        let ids = WordPiece::read_bytes(&vocabulary).unwrap();
        let model = WordPiece::builder().vocab(ids).build().unwrap();
        let ours = Tokenizer::from_vocabulary(vocabulary, normalizer).unwrap();
        let mut theirs = tokenizers::Tokenizer::new(model);
        let special = |token: &str| (token.to_owned(), theirs.token_to_id(token).unwrap());
        let processing = BertProcessing::new(special("[SEP]"), special("[CLS]"));
        let normalizer = BertNormalizer::new(
            normalizer.clean_text,
            normalizer.handle_chinese_chars,
            Some(normalizer.strip_accents),
            normalizer.lowercase,
        );
        theirs.with_normalizer(Some(normalizer)).unwrap();
        theirs.with_pre_tokenizer(Some(BertPreTokenizer)).with_post_processor(Some(processing));
        theirs.add_special_tokens(SPECIAL.map(|token| AddedToken::from(token, true))).unwrap();
        Self { ours, theirs }
    }

    fn ours(&self, text: &str, max: usize) -> Vec<u32> {
        let mut out = Vec::new();
        let count = self.ours.encode_into(text, max, &mut out);
        assert_eq!(count, out.len());
        out
    }

    fn theirs(&self, text: &str) -> Vec<u32> {
        self.theirs.encode_fast(text, true).unwrap().get_ids().to_vec()
    }

    /// The text, whole and cut off.
    fn check(&self, text: &str) -> Result<(), TestCaseError> {
        let theirs = self.theirs(text);
        prop_assert_eq!(&self.ours(text, usize::MAX), &theirs, "{:?}", text);
        for max in [2, 3, 7, 16, 256] {
            let mut cut = theirs.clone();
            if cut.len() > max {
                cut.drain(max - 1..cut.len() - 1);
            }
            prop_assert_eq!(self.ours(text, max), cut, "{:?} cut to {} tokens", text, max);
        }
        Ok(())
    }

    fn assert(&self, text: &str) {
        if let Err(error) = self.check(text) {
            panic!("{error}");
        }
    }
}

/// Every character alone and inside a word, many to a text because theirs takes microseconds to start.
fn every_character(pair: &Pair, characters: impl Iterator<Item = char>) {
    let characters: Vec<char> = characters.collect();
    let alone = |c: char| format!("{c} ");
    let inside = |c: char| format!("a{c}b ");
    let before_mark = |c: char| format!("x{c}\u{1d165}\u{302e}{c}\u{1d16d}y ");
    for form in [&alone as &dyn Fn(char) -> String, &inside, &before_mark] {
        for group in characters.chunks(512) {
            let text: String = group.iter().map(|&c| form(c)).collect();
            if pair.ours(&text, usize::MAX) != pair.theirs(&text) {
                let wrong: Vec<_> = group
                    .iter()
                    .map(|&c| form(c))
                    .filter(|text| pair.ours(text, usize::MAX) != pair.theirs(text))
                    .collect();
                panic!("differs: {wrong:?}");
            }
        }
    }
}

#[test]
fn every_character_gives_the_same_tokens() {
    // Planes 3 to 13 have no characters in any Unicode version that either side knows; a few of them will do.
    let few = ('\u{30000}'..='\u{dffff}').step_by(251);
    every_character(&PAIR, ('\0'..='\u{2ffff}').chain(few).chain('\u{e0000}'..='\u{e0fff}'));
    every_character(&PAIR, ('\u{e1000}'..=char::MAX).step_by(251));
    every_character(&PAIR, ['\u{f0000}', '\u{ffffd}', '\u{100000}', '\u{10fffd}'].into_iter());
}

#[test]
fn every_character_becomes_the_same_characters() {
    every_character(&LETTERS, ('\0'..='\u{1ffff}').chain('\u{2f700}'..='\u{2fa2f}'));
}

#[test]
fn every_character_without_exception() {
    every_character(&PAIR, '\0'..=char::MAX);
    every_character(&LETTERS, '\0'..=char::MAX);
}

#[test]
fn every_rule_gives_the_same_tokens() {
    for bits in 0..16 {
        let normalizer = Normalizer {
            clean_text: bits & 1 != 0,
            handle_chinese_chars: bits & 2 != 0,
            strip_accents: bits & 4 != 0,
            lowercase: bits & 8 != 0,
        };
        let some = || ('\0'..='\u{33ff}').chain('\u{f900}'..='\u{ffff}');
        let pair = Pair::new(letters(some()), normalizer);
        TEXTS.lines().for_each(|text| pair.assert(text));
        every_character(&pair, some());
    }
}

#[test]
fn written_texts_give_the_same_tokens() {
    for text in TEXTS.lines() {
        PAIR.assert(text);
        LETTERS.assert(text);
    }
    PAIR.assert(TEXTS);
    for lines in TEXTS.lines().collect::<Vec<_>>().chunks(5) {
        PAIR.assert(&lines.join("\r\n"));
    }
}

#[test]
fn their_own_truncation_agrees() {
    let mut theirs = PAIR.theirs.clone();
    let truncation = TruncationParams { max_length: 256, ..TruncationParams::default() };
    theirs.with_truncation(Some(truncation)).unwrap();
    let ids = theirs.encode(TEXTS, true).unwrap().get_ids().to_vec();
    assert_eq!(ids.len(), 256);
    assert_eq!(PAIR.ours(TEXTS, 256), ids);
}

#[test]
fn what_they_write_is_read() {
    let read =
        |theirs: &tokenizers::Tokenizer| Tokenizer::from_json(theirs.to_string(false).unwrap().as_bytes()).unwrap();
    let ours = read(&PAIR.theirs);
    assert_eq!(ours.normalizer(), UNCASED);
    assert!(ours.vocabulary().eq(VOCABULARY.lines()));

    let mut theirs = PAIR.theirs.clone();
    let template = TemplateProcessing::builder()
        .try_single("[CLS] $A [SEP]")
        .unwrap()
        .special_tokens(vec![("[CLS]", 101), ("[SEP]", 102)])
        .build()
        .unwrap();
    theirs.with_post_processor(Some(template));
    theirs.with_normalizer(Some(BertNormalizer::new(true, false, None, false))).unwrap();
    theirs.with_padding(Some(PaddingParams::default()));
    let normalizer = Normalizer { handle_chinese_chars: false, strip_accents: false, lowercase: false, ..UNCASED };
    assert_eq!(read(&theirs).normalizer(), normalizer);
}

#[test]
fn long_words_give_the_same_tokens() {
    for unit in ["a", "é", "e\u{301}", "\u{302e}", "각", "я", "𝕏", "ß", "\u{200d}a", "ﬁ"] {
        for count in [33, 34, 49, 50, 51, 99, 100, 101, 102, 200, 5000] {
            let long = unit.repeat(count);
            LETTERS.assert(&long);
            PAIR.assert(&long);
            PAIR.assert(&format!("before {long} after"));
            PAIR.assert(&format!("{long}\u{302e}[SEP]{long}.{long}"));
        }
    }
}

fn vocabulary_token() -> impl Strategy<Value = String> {
    let tokens: Vec<&str> = VOCABULARY.lines().collect();
    proptest::sample::select(tokens).prop_map(str::to_owned)
}

/// A character of one of the ranges that matter to a tokenizer.
fn character() -> impl Strategy<Value = char> {
    let ranges = [
        ('\0', '\u{7f}'),
        ('\u{80}', '\u{24f}'),
        ('\u{250}', '\u{36f}'),
        ('\u{370}', '\u{52f}'),
        ('\u{590}', '\u{6ff}'),
        ('\u{900}', '\u{97f}'),
        ('\u{e00}', '\u{eff}'),
        ('\u{1100}', '\u{11ff}'),
        ('\u{1ab0}', '\u{1fff}'),
        ('\u{2000}', '\u{20ff}'),
        ('\u{2e80}', '\u{33ff}'),
        ('\u{4e00}', '\u{4fff}'),
        ('\u{ac00}', '\u{d7a3}'),
        ('\u{e000}', '\u{e0ff}'),
        ('\u{f900}', '\u{ffff}'),
        ('\u{1d100}', '\u{1d1ff}'),
        ('\u{1f000}', '\u{1faff}'),
        ('\u{2f800}', '\u{2fa1f}'),
        ('\u{e0000}', '\u{e01ff}'),
    ];
    prop_oneof![
        proptest::sample::select(ranges.to_vec()).prop_flat_map(|(first, last)| proptest::char::range(first, last)),
        any::<char>(),
    ]
}

/// Characters that have a combining class but are kept, those that are dropped, and those that end a series.
fn mark() -> impl Strategy<Value = char> {
    let marks = "\u{301}\u{323}\u{302e}\u{302f}\u{1d165}\u{1d166}\u{1d16d}\u{1d172}\u{93c}\u{9be}\u{483}\u{20dd}\u{34f}\
                 \u{200d}\u{fe0f}\u{1df6}\u{8d4}\u{1e94a}\u{11f41}\u{10f46}\u{e01}\u{e33}\u{16ff0}";
    proptest::sample::select(marks.chars().collect::<Vec<_>>())
}

fn part() -> impl Strategy<Value = String> {
    let fixed = [
        "[CLS]",
        "[SEP]",
        "[MASK]",
        "[PAD]",
        "[UNK]",
        "[unk]",
        "[ SEP]",
        "[[SEP]]",
        "[SE",
        "P]",
        "##ing",
        "[unused1]",
        "<p class=\"a\">",
        "&amp;",
        "fn f(x: &str) -> u8 { x[0] }",
        "https://example.com/a?b=c%20d",
        "👩‍👩‍👧‍👦",
        "👍🏽",
        "🇩🇪",
        "\u{feff}",
        "\u{fffd}",
        "\r\n",
        "\t",
        "\u{b}",
        "\u{c}",
        "\u{85}",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        "\u{200b}",
        "\u{ad}",
        "İ",
        "ẞ",
        "ΌΣΟΣ",
        "ǆǅ",
        "\u{1680}",
        "don't",
        "3.14",
    ];
    prop_oneof![
        4 => vocabulary_token(),
        2 => vocabulary_token().prop_map(|token| token.to_uppercase()),
        3 => proptest::collection::vec(character(), 1..8).prop_map(String::from_iter),
        2 => proptest::collection::vec(mark(), 1..6).prop_map(String::from_iter),
        2 => proptest::sample::select(fixed.to_vec()).prop_map(str::to_owned),
        1 => proptest::sample::select(TEXTS.lines().collect::<Vec<_>>()).prop_map(str::to_owned),
        1 => (character(), 95_usize..106).prop_map(|(c, count)| c.to_string().repeat(count)),
    ]
}

fn text() -> impl Strategy<Value = String> {
    let separated = (part(), proptest::sample::select(vec!["", "", " ", " ", "  ", "\n", "-", "\0"]))
        .prop_map(|(part, separator)| part + separator);
    proptest::collection::vec(separated, 0..24).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn generated_texts_give_the_same_tokens(text in text()) {
        PAIR.check(&text)?;
        LETTERS.check(&text)?;
    }

    #[test]
    fn random_characters_give_the_same_tokens(text in proptest::collection::vec(character(), 0..60)) {
        let text = String::from_iter(text);
        PAIR.check(&text)?;
        LETTERS.check(&text)?;
    }

    #[test]
    fn marks_in_any_order_give_the_same_tokens(
        text in proptest::collection::vec(prop_oneof![3 => mark(), 1 => character()], 0..30),
    ) {
        LETTERS.check(&String::from_iter(text))?;
    }

    #[test]
    fn damaged_utf8_gives_the_same_tokens(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        PAIR.check(&String::from_utf8_lossy(&bytes))?;
    }
}
