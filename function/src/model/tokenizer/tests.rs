#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use tokenizers::models::wordpiece::WordPiece;
use tokenizers::normalizers::BertNormalizer;
use tokenizers::pre_tokenizers::bert::BertPreTokenizer;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, TokenizerBuilder, TokenizerImpl, TruncationParams};

use super::*;
use crate::model::Encoder;

type Reference = TokenizerImpl<
    WordPiece,
    BertNormalizer,
    BertPreTokenizer,
    BertProcessing,
    tokenizers::decoders::wordpiece::WordPiece,
>;

/// Hugging Face's tokenizer over our vocabulary, as the model's `tokenizer.json` sets it up, but for truncation at `most`.
fn reference(own: &Tokenizer, most: usize) -> Reference {
    let vocabulary = own.vocabulary().map(str::to_owned).zip(0..).collect::<ahash::AHashMap<_, _>>();
    let model = WordPiece::builder().vocab(vocabulary).unk_token("[UNK]".into()).build().unwrap();
    let processing = BertProcessing::new(("[SEP]".into(), own.separate), ("[CLS]".into(), own.classify));
    let mut reference: Reference = TokenizerBuilder::new()
        .with_model(model)
        .with_normalizer(Some(BertNormalizer::new(true, true, None, true)))
        .with_pre_tokenizer(Some(BertPreTokenizer))
        .with_post_processor(Some(processing))
        .with_decoder(Some(tokenizers::decoders::wordpiece::WordPiece::default()))
        .build()
        .unwrap();
    let special: Vec<_> =
        own.options().added_tokens.iter().map(|token| AddedToken::from(token.clone(), true)).collect();
    assert_eq!(reference.add_special_tokens(&special), 0, "they are in the vocabulary");
    let truncation = TruncationParams { max_length: most, ..TruncationParams::default() };
    reference.with_truncation(Some(truncation)).unwrap();
    reference
}

fn check(own: &Tokenizer, reference: &Reference, most: usize, text: &str) {
    let mut ids = Vec::new();
    own.encode_into(text, most, &mut ids);
    let expected = reference.encode(text, true).unwrap();
    assert_eq!(ids, expected.get_ids(), "{text:?}");
}

#[test]
fn every_character_agrees() {
    let encoder = Encoder::embedded().unwrap();
    let own = encoder.tokenizer();
    let most = 4096;
    let reference = reference(own, most);
    let characters: Vec<char> = ('\0'..=char::MAX).collect();
    for chunk in characters.chunks(512) {
        // Each alone, within a word, and beside marks of its neighbours.
        let alone: String = chunk.iter().flat_map(|c| [*c, ' ']).collect();
        check(own, &reference, most, &alone);
        let within: String = chunk.iter().flat_map(|c| ['a', *c, 'b', ' ']).collect();
        check(own, &reference, most, &within);
        let marked: String = chunk.iter().flat_map(|c| [*c, '\u{0301}', '\u{302e}', '\u{0323}', ' ']).collect();
        check(own, &reference, most, &marked);
    }
}

#[test]
fn sample_texts_agree() {
    let encoder = Encoder::embedded().unwrap();
    let own = encoder.tokenizer();
    let reference = reference(own, 256);
    let sample = include_str!("../../../tests/data/zero_shot.tsv");
    let source = include_str!("../tokenizer.rs");
    for text in sample.lines().chain(source.lines()).chain([sample, source]) {
        check(own, &reference, 256, text);
    }
    for length in [98, 99, 100, 101, 102, 1000] {
        for c in ['a', 'é', '中', 'ａ', '.'] {
            let word = c.to_string().repeat(length);
            check(own, &reference, 256, &word);
            check(own, &reference, 256, &format!("x {word}, y"));
        }
    }
    for most in [2, 3, 4, 5, 9] {
        let reference = super::tests::reference(own, most);
        check(own, &reference, most, "unbelievably long-winded [SEP] text");
    }
}

/// Texts that hold what tokenizers stumble over.
fn texts() -> impl Strategy<Value = String> {
    let part = prop_oneof![
        4 => "[a-z]{1,12}",
        2 => "[A-Z][a-z]{0,8}",
        2 => Just(" ".to_owned()),
        1 => "[ -~]{1,10}",
        1 => any::<char>().prop_map(String::from),
        1 => "\\PC{1,6}",
        1 => "[\u{300}-\u{36f}]{1,4}",
        1 => "[à-ÿÀ-ß]{1,6}",
        1 => "[一-龥]{1,4}",
        1 => "[ぁ-ヿ가-힣]{1,4}",
        1 => "[\u{0590}-\u{0dff}]{1,6}",
        1 => "[\u{1f300}-\u{1faff}\u{200d}\u{fe0f}]{1,4}",
        1 => "[\u{0}-\u{1f}\u{7f}-\u{a0}\u{2000}-\u{206f}\u{feff}\u{fffd}]{1,3}",
        1 => proptest::sample::select(vec!["[CLS]", "[SEP]", "[MASK]", "[PAD]", "[UNK]", "[", "]", "[SEP", "##ing", "##", "#", "İ", "ς", "ß", "ﬁ", "Å"])
            .prop_map(str::to_owned),
        1 => "[a-z]{90,110}",
    ];
    proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
}

#[test]
fn generated_texts_agree() {
    let encoder = Encoder::embedded().unwrap();
    let own = encoder.tokenizer();
    for most in [256, 12] {
        let reference = reference(own, most);
        let config = ProptestConfig { cases: 5000, failure_persistence: None, ..ProptestConfig::default() };
        proptest!(config, |(text in texts())| check(own, &reference, most, &text));
    }
}

#[test]
fn a_long_text_costs_what_its_beginning_costs() {
    let encoder = Encoder::embedded().unwrap();
    let text = "word ".repeat(2_000_000);
    for _ in 0..10_000 {
        assert_eq!(encoder.tokenize(&text).len(), 256); // minutes, if it were read to its end
    }
}

#[test]
fn other_tokenizers_are_refused() {
    let json = |normalizer: &str, vocabulary: &str| {
        format!(
            r###"{{"normalizer":{{"type":"{normalizer}"}},"pre_tokenizer":{{"type":"BertPreTokenizer"}},
            "model":{{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##",
            "max_input_chars_per_word":100,"vocab":{vocabulary}}}}}"###
        )
    };
    let good = r###"{"[UNK]":0,"[CLS]":1,"[SEP]":2,"a":3,"##a":4,"##":5}"###;
    let mut ids = Vec::new();
    Tokenizer::from_json(json("BertNormalizer", good).as_bytes()).unwrap().encode_into("aaa b A", 9, &mut ids);
    assert_eq!(ids, [1, 3, 4, 4, 0, 3, 2]);
    for (text, word) in [
        (json("NFC", good), "normalizer.type"),
        (json("BertNormalizer", r#"{"[UNK]":0,"[CLS]":2}"#), "model.vocab"),
        (json("BertNormalizer", r#"{"[UNK]":0,"[CLS]":1}"#), "[SEP]"),
        ("{".to_owned(), "tokenizer.json"),
    ] {
        let error = Tokenizer::from_json(text.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}
