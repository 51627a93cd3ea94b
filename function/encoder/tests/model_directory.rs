//! A model of another depth and width, read from a directory; and directories that hold none.

#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use encoder::{Encoder, Pooling, SourceModel};
use safetensors::Dtype;
use safetensors::tensor::TensorView;
use serde_json::{Value, json};

const WORDS: [&str; 12] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "blue", "fish", "##es", "and", "."];

/// Repeatable numbers around `centre`.
fn numbers(seed: &mut u64, count: usize, centre: f32, spread: f32) -> Vec<f32> {
    let mut next = || {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (*seed >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..count).map(|_| centre + spread * (0..4).map(|_| next()).sum::<f32>()).collect()
}

/// A BERT of three layers, 96 wide, with three heads, in a folder of its own.
fn directory(name: &str, prefix: &str) -> PathBuf {
    let (hidden, wide, layers, positions) = (96, 160, 3, 40);
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(folder.join("1_Pooling")).unwrap();
    let config = json!({"model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
        "num_attention_heads": 3, "intermediate_size": wide, "vocab_size": WORDS.len(),
        "max_position_embeddings": positions, "hidden_act": "gelu"});
    let vocabulary: serde_json::Map<String, Value> =
        WORDS.iter().enumerate().map(|(id, word)| ((*word).to_owned(), json!(id))).collect();
    let special: Vec<Value> = WORDS[..5]
        .iter()
        .enumerate()
        .map(|(id, word)| {
            json!({"id": id, "content": word, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
                "normalized": false})
        })
        .collect();
    let tokenizer = json!({
        "added_tokens": special,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": vocabulary},
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(folder.join("sentence_bert_config.json"), r#"{"max_seq_length": 9}"#).unwrap();

    let mut seed = 1;
    let mut tensors: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    let mut add = |name: String, shape: &[usize], centre: f32, spread: f32| {
        let values = numbers(&mut seed, shape.iter().product(), centre, spread);
        tensors.push((format!("{prefix}{name}"), shape.to_vec(), values));
    };
    add("embeddings.word_embeddings.weight".into(), &[WORDS.len(), hidden], 0.0, 1.0);
    add("embeddings.position_embeddings.weight".into(), &[positions, hidden], 0.0, 0.3);
    add("embeddings.token_type_embeddings.weight".into(), &[2, hidden], 0.0, 0.3);
    add("embeddings.LayerNorm.weight".into(), &[hidden], 1.0, 0.2);
    add("embeddings.LayerNorm.bias".into(), &[hidden], 0.0, 0.2);
    for layer in 0..layers {
        let mut linear = |part: &str, out: usize, width: usize| {
            add(format!("encoder.layer.{layer}.{part}.weight"), &[out, width], 0.0, 0.2);
            add(format!("encoder.layer.{layer}.{part}.bias"), &[out], 0.0, 0.2);
        };
        linear("attention.self.query", hidden, hidden);
        linear("attention.self.key", hidden, hidden);
        linear("attention.self.value", hidden, hidden);
        linear("attention.output.dense", hidden, hidden);
        linear("intermediate.dense", wide, hidden);
        linear("output.dense", hidden, wide);
        for part in ["attention.output", "output"] {
            add(format!("encoder.layer.{layer}.{part}.LayerNorm.weight"), &[hidden], 1.0, 0.2);
            add(format!("encoder.layer.{layer}.{part}.LayerNorm.bias"), &[hidden], 0.0, 0.2);
        }
    }
    let bytes: HashMap<String, (Vec<usize>, Vec<u8>)> = tensors
        .into_iter()
        .map(|(name, shape, values)| (name, (shape, values.iter().flat_map(|v| v.to_le_bytes()).collect())))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, (shape, data))| (name.clone(), TensorView::new(Dtype::F32, shape.clone(), data).unwrap()));
    std::fs::write(folder.join("model.safetensors"), safetensors::serialize(views, None).unwrap()).unwrap();
    folder
}

#[test]
fn another_depth_and_width_agrees_with_its_float32_weights() {
    for (name, prefix, pooling) in [("plain", "", Pooling::Mean), ("prefixed", "bert.", Pooling::Cls)] {
        let folder = directory(name, prefix);
        let modes = json!({"pooling_mode_mean_tokens": pooling == Pooling::Mean,
            "pooling_mode_cls_token": pooling == Pooling::Cls});
        std::fs::write(folder.join("1_Pooling/config.json"), modes.to_string()).unwrap();
        let source = SourceModel::read(&folder).unwrap();
        let encoder = Encoder::from_file(&source.quantise().unwrap()).unwrap();
        let about = encoder.metadata();
        assert_eq!((about.name.as_str(), about.max_tokens, about.pooling), (name, 9, pooling));
        let texts = ["", "red fish", "Blue fishes and green fish. And red fish and blue fishes", "?"];
        let tokens: Vec<_> = texts.iter().map(|text| encoder.tokenize(text)).collect();
        assert_eq!(tokens[2].len(), 9);
        let together = encoder.embed(&tokens);
        for ((text, tokens), vector) in texts.iter().zip(&tokens).zip(together.chunks_exact(96)) {
            let exact = source.embed(text);
            let cosine: f32 = exact.iter().zip(vector).map(|(a, b)| a * b).sum();
            assert!(cosine > 0.99, "{name}, {text:?}: {cosine}");
            assert_eq!(encoder.embed(&[tokens]), vector, "{text:?} alone and with others");
        }
        let threads = Encoder::from_file(&source.quantise().unwrap()).unwrap().with_threads(3);
        let many: Vec<_> = tokens.iter().cycle().take(100).collect();
        assert_eq!(threads.embed(&many), encoder.embed(&many));
    }
}

#[test]
fn what_is_null_is_not_set_and_a_byte_order_mark_is_no_part_of_a_file() {
    let folder = directory("marked", "");
    let plain = SourceModel::read(&folder).unwrap().quantise().unwrap();
    let mut config: Value = serde_json::from_slice(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    for field in ["layer_norm_eps", "hidden_act", "position_embedding_type"] {
        config[field] = Value::Null;
    }
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    std::fs::write(folder.join("1_Pooling/config.json"), r#"{"pooling_mode_mean_tokens": null}"#).unwrap();
    for file in ["config.json", "tokenizer.json", "sentence_bert_config.json", "1_Pooling/config.json"] {
        let text = std::fs::read_to_string(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), format!("\u{feff}{text}")).unwrap();
    }
    assert!(SourceModel::read(&folder).unwrap().quantise().unwrap() == plain);

    for (file, content, words) in [
        (
            "sentence_bert_config.json",
            r#"{"max_seq_length": "9"}"#,
            "`max_seq_length` is \"9\"; expected a whole number",
        ),
        ("1_Pooling/config.json", r#"{"pooling_mode_cls_token": "true"}"#, "`pooling_mode_cls_token` is \"true\""),
    ] {
        let kept = std::fs::read(folder.join(file)).unwrap();
        std::fs::write(folder.join(file), content).unwrap();
        let error = SourceModel::read(&folder).unwrap_err().to_string();
        assert!(error.contains(file) && error.contains(words), "{error}");
        std::fs::write(folder.join(file), kept).unwrap();
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn a_directory_without_a_usable_model_says_what_is_wrong() {
    let folder = directory("broken", "");
    let good: HashMap<&str, Vec<u8>> =
        SourceModel::FILES[..3].iter().map(|file| (*file, std::fs::read(folder.join(file)).unwrap())).collect();
    let config = |field: &str, value: Value| {
        let mut config: Value = serde_json::from_slice(&good["config.json"]).unwrap();
        config[field] = value;
        config.to_string().into_bytes()
    };
    let cut = good["model.safetensors"][..10_000].to_vec();
    for (file, content, words) in [
        ("config.json", None, "config.json: there is no such file"),
        ("model.safetensors", None, "model.safetensors: there is no such file"),
        ("config.json", Some(b"{".to_vec()), "config.json"),
        ("config.json", Some(config("model_type", json!("roberta"))), "`model_type` is roberta"),
        ("config.json", Some(config("hidden_size", json!(100))), "`hidden_size` is 100"),
        ("config.json", Some(config("num_hidden_layers", json!(4))), "encoder.layer.3"),
        ("config.json", Some(config("vocab_size", json!(13))), "12 tokens"),
        ("tokenizer.json", Some(b"{}".to_vec()), "tokenizer.json"),
        ("model.safetensors", Some(cut), "model.safetensors"),
    ] {
        let open = |name: &str| match &content {
            content if name == file => Ok((*content).clone()),
            _ => Ok(good.get(name).cloned()),
        };
        let error = SourceModel::from_files("broken", "here", open).unwrap_err().to_string();
        assert!(error.contains(words), "{file}: {error}");
    }
    let mut file = SourceModel::read(&folder).unwrap().quantise().unwrap();
    file.truncate(file.len() - 64);
    assert!(Encoder::from_file(&file).is_err());
    assert!(Encoder::from_file(b"no model").is_err());
}
