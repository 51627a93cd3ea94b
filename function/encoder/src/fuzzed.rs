//! Damaged models, tokenizers and texts. How it is run: the crate `fuzz`.

use std::collections::HashMap;
use std::sync::LazyLock;

use fuzz::{Damaged, Hits};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::json;

use super::kernels::Isa;
use super::{Encoder, Scheduler, SourceModel, Tokenizer, Weights, aligned};

const WORDS: [&str; 9] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b", "##bc", "!"];

fn config() -> String {
    json!({"model_type": "bert", "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1,
        "intermediate_size": 32, "vocab_size": WORDS.len(), "max_position_embeddings": 4})
    .to_string()
}

fn tokenizer() -> String {
    let vocabulary: HashMap<&str, usize> = WORDS.iter().enumerate().map(|(id, word)| (*word, id)).collect();
    let special: Vec<_> = WORDS[..5]
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({"id": id, "content": word, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false})
        })
        .collect();
    json!({
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    })
    .to_string()
}

/// The smallest weights that there can be.
fn weights(types: [usize; 2]) -> Vec<u8> {
    let layer = |part: &str| format!("encoder.layer.0.{part}");
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![WORDS.len(), 32]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![4, 32]),
        ("embeddings.token_type_embeddings.weight".to_owned(), types.to_vec()),
    ];
    for part in ["attention.self.query", "attention.self.key", "attention.self.value"] {
        shapes.push((layer(&format!("{part}.weight")), vec![32, 32]));
        shapes.push((layer(&format!("{part}.bias")), vec![32]));
    }
    for part in ["attention.output.dense", "intermediate.dense", "output.dense"] {
        shapes.push((layer(&format!("{part}.weight")), vec![32, 32]));
        shapes.push((layer(&format!("{part}.bias")), vec![32]));
    }
    for part in [&layer("attention.output"), &layer("output"), "embeddings"] {
        shapes.push((format!("{part}.LayerNorm.weight"), vec![32]));
        shapes.push((format!("{part}.LayerNorm.bias"), vec![32]));
    }
    let data: Vec<u8> = (0..32 * 32_u16).flat_map(|n| (f32::from(n % 7) - 3.0).to_le_bytes()).collect();
    let views = shapes.into_iter().map(|(name, shape)| {
        let bytes = shape.iter().product::<usize>() * 4;
        (name, TensorView::new(Dtype::F32, shape, &data[..bytes]).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A safetensors file's header and its data.
fn split(file: &[u8]) -> (&[u8], &[u8]) {
    let (length, rest) = file.split_at(8);
    rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize)
}

fn join(header: &[u8], data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header, data].concat()
}

/// Damage to a safetensors file: to its header, its data, and the whole. The header is given its right length before
/// the last, else hardly any would get further.
type File = (Damaged, Hits, Option<Hits>);

fn file((header, data, whole): &File, seeds: &[&[u8]]) -> Vec<u8> {
    let headers: Vec<&[u8]> = seeds.iter().map(|file| split(file).0).collect();
    let tokens = [fuzz::JSON, &["0", "9", "4096", "I8", "U8", "F32", "shape", "data_offsets"]].concat();
    let mut bytes = split(seeds[0]).1.to_vec();
    data.apply(&mut bytes, seeds, &["\u{0}", "\u{7f}"]);
    let mut file = join(&header.bytes(&headers, &tokens), &bytes);
    if let Some(hits) = whole {
        hits.apply(&mut file, seeds, &tokens);
    }
    file
}

fn source(files: &HashMap<&str, Vec<u8>>) -> Result<SourceModel, super::ModelError> {
    SourceModel::from_files("small", "memory", |name| Ok(files.get(name).cloned()))
}

fn files() -> HashMap<&'static str, Vec<u8>> {
    HashMap::from([
        ("config.json", config().into_bytes()),
        ("tokenizer.json", tokenizer().into_bytes()),
        ("model.safetensors", weights([2, 32])),
        ("sentence_bert_config.json", br#"{"max_seq_length": 4}"#.to_vec()),
        ("1_Pooling/config.json", br#"{"pooling_mode_mean_tokens": true}"#.to_vec()),
    ])
}

/// Encodes a text, and checks what holds for every one.
fn encode(tokenizer: &Tokenizer, text: &str, max: usize) -> Vec<u32> {
    let mut ids = Vec::new();
    let count = tokenizer.encode_into(text, max, &mut ids);
    assert_eq!(ids.len(), count);
    assert!((2..=max.max(2)).contains(&count));
    assert!(count <= 2 + text.chars().flat_map(char::to_lowercase).count() * 4);
    assert!(ids.iter().all(|id| (*id as usize) < tokenizer.vocabulary().len()));
    ids
}

/// Replaces the one place where `old` is.
fn replaced(file: &[u8], old: &str, new: &str) -> Vec<u8> {
    let (header, data) = split(file);
    let replace = |bytes: &[u8]| {
        let at = bytes.windows(old.len()).position(|window| window == old.as_bytes());
        at.map(|at| [&bytes[..at], new.as_bytes(), &bytes[at + old.len()..]].concat())
    };
    match (replace(header), replace(data)) {
        (Some(header), None) => join(&header, data),
        (None, Some(data)) => join(header, &data),
        _ => panic!("{old} is not in one place"),
    }
}

#[test]
fn a_file_whose_tokens_would_not_fit_is_refused() {
    let small = source(&files()).unwrap().quantise().unwrap();
    assert!(Encoder::from_file(&small).is_ok());
    for (old, new, says) in [
        (r#"\"max_tokens\":4"#, r#"\"max_tokens\":5"#, "`max_tokens` is 5"),
        (r#"\"max_tokens\":4"#, r#"\"max_tokens\":1"#, "`max_tokens` is 1"),
        ("##bc", "#\nbc", "10 tokens"),
    ] {
        let error = Encoder::from_file(&replaced(&small, old, new)).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    // As many rows as make their size wrap round to nothing.
    let mut files = files();
    files.insert("model.safetensors", weights([1 << 59, 0]));
    assert!(source(&files).is_err());
}

/// A file that is taken computes, on every instruction set.
#[test]
fn model_files_compute_or_are_refused() {
    let small = source(&files()).unwrap().quantise().unwrap();
    let embedded = include_bytes!("../data/all-MiniLM-L6-v2.safetensors");
    let embedded = join(split(embedded).0, &[]);
    let seeds = [&small[..], &embedded];
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(|damage: &File| {
        let (bytes, range) = aligned(&file(damage, &seeds));
        let Ok(weights) = Weights::read(&bytes[range]) else { return };
        let Ok(tokenizer) = weights.tokenizer(weights.vocabulary.to_vec().into()) else { return };
        let tokens = encode(&tokenizer, "ab! abc", weights.metadata.max_tokens);
        for isa in Isa::available() {
            let mut out = vec![0.0; weights.metadata.config.hidden_size];
            Scheduler::default().run(&weights, isa, 1, &[&tokens], &mut out);
        }
    });
}

/// `config.json`, `tokenizer.json`, the weights, and one of the other two.
type Directory = (Hits, Hits, Option<File>, Option<(bool, Hits)>);

/// The files of a model directory are taken or refused.
#[test]
fn model_directories_are_taken_or_refused() {
    let whole = files();
    let seeds = [&whole["model.safetensors"][..]];
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(config_hits, tokenizer_hits, weights, others): &Directory| {
            let mut files = whole.clone();
            let mut damage = |name: &'static str, hits: &Hits| {
                hits.apply(files.get_mut(name).unwrap(), &[config(), tokenizer()], fuzz::JSON);
            };
            damage("config.json", config_hits);
            damage("tokenizer.json", tokenizer_hits);
            if let Some((which, hits)) = others {
                damage(if *which { "1_Pooling/config.json" } else { "sentence_bert_config.json" }, hits);
            }
            if let Some(damage) = weights {
                files.insert("model.safetensors", file(damage, &seeds));
            }
            let _ = source(&files);
        },
    );
}

/// A `tokenizer.json` that is taken encodes every text within its bounds.
#[test]
fn tokenizer_files_encode_or_are_refused() {
    let seeds = [tokenizer()];
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(file, text, max): &(Damaged, Damaged, u8)| {
            let Ok(tokenizer) = Tokenizer::from_json(&file.bytes(&seeds, fuzz::JSON)) else { return };
            encode(&tokenizer, &text.text(&TEXTS, &TOKENS), usize::from(*max));
        },
    );
}

const TEXTS: [&str; 6] = [
    "The quick brown fox jumps over the lazy dog.",
    "Caf\u{e9} na\u{ef}ve \u{1e69}\u{323}\u{307} \u{212b}",
    "\u{6771}\u{4eac}\u{306f}\u{65e5}\u{672c} \u{d55c}\u{ad6d}\u{c5b4} \u{915}\u{94d}\u{937}",
    "[CLS] [MASK][SEP]##ing http://x.y/?z=1&w=%20",
    "\u{1f468}\u{200d}\u{1f469}\u{200d}\u{1f467} \u{fdfa}\u{fb03}\u{130}I\u{307}",
    "\u{0}\u{7f}\u{ad}\u{feff}\t\r\n\u{2028}\u{3000}",
];
const TOKENS: [&str; 10] =
    ["[", "[SEP]", "#", " ", "\u{301}", "\u{323}", "\u{d4db}", "\u{10ffff}", "\u{130}", "\u{1e9e}"];

/// The embedded tokenizer keeps to its bounds, and a longer bound only goes on.
#[test]
fn texts_are_encoded_within_bounds() {
    static ENCODER: LazyLock<Encoder> = LazyLock::new(|| Encoder::embedded().unwrap());
    fuzz::check!().with_test_time(fuzz::BRIEFLY).with_iterations(fuzz::INPUTS).with_type().for_each(
        |(text, max): &(Damaged, u8)| {
            let text = text.text(&TEXTS, &TOKENS);
            let tokenizer = ENCODER.tokenizer();
            let short = encode(tokenizer, &text, usize::from(*max));
            let long = encode(tokenizer, &text, 512);
            let same = short.len() - 1;
            assert_eq!(short[..same], long[..same]);
        },
    );
}
