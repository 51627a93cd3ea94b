use serde_json::json;

use super::*;

fn file() -> Value {
    let added = |id: u32, content: &str| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false, "special": true})
    };
    json!({
        "version": "1.0",
        "truncation": {"max_length": 128, "strategy": "LongestFirst", "stride": 0},
        "padding": null,
        "added_tokens": [added(1, "[UNK]"), added(2, "[CLS]"), added(3, "[SEP]")],
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true,
            "strip_accents": null, "lowercase": true},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": true},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": {"a": 0, "[SEP]": 3, "[UNK]": 1, "[CLS]": 2}},
    })
}

fn refused(path: &str, value: Value) -> String {
    let mut file = file();
    *file.pointer_mut(path).unwrap() = value;
    read(file.to_string().as_bytes()).unwrap_err().to_string()
}

#[test]
fn reads_the_family() {
    let (vocabulary, normalizer) = read(file().to_string().as_bytes()).unwrap();
    assert_eq!(vocabulary, b"a\n[UNK]\n[CLS]\n[SEP]\n");
    assert_eq!(normalizer, Normalizer::default());
}

#[test]
fn names_the_field_that_asks_for_something_else() {
    for (path, value, named) in [
        ("/model/type", json!("BPE"), "model.type = \"BPE\""),
        ("/model/unk_token", json!("<unk>"), "model.unk_token = "),
        ("/model/continuing_subword_prefix", json!("_"), "model.continuing_subword_prefix = "),
        ("/model/max_input_chars_per_word", json!(200), "model.max_input_chars_per_word = 200"),
        ("/model/vocab", json!([]), "model.vocab = []"),
        ("/model/vocab/a", json!(7), "model.vocab.[UNK] = 1"),
        ("/model/vocab/a", json!(3), "model.vocab"),
        ("/model/vocab/a", json!(-1), "model.vocab.a = -1"),
        ("/normalizer", Value::Null, "normalizer.type = null"),
        ("/normalizer/lowercase", json!(1), "normalizer.lowercase = 1"),
        ("/normalizer/strip_accents", json!("no"), "normalizer.strip_accents = "),
        ("/pre_tokenizer/type", json!("Whitespace"), "pre_tokenizer.type = "),
        ("/post_processor", Value::Null, "post_processor.type = null"),
        ("/post_processor/sep/1", json!(2), "post_processor.sep[1] = 2"),
        ("/post_processor/cls", json!(["[SEP]", 3]), "post_processor.cls[0] = "),
        ("/added_tokens", json!([]), "added_tokens = []"),
        ("/added_tokens/0/content", json!("<mask>"), "added_tokens[0].content = "),
        ("/added_tokens/1/id", json!(9), "added_tokens[1].id = 9"),
        ("/added_tokens/2/lstrip", json!(true), "added_tokens[2].lstrip = true"),
    ] {
        let error = refused(path, value);
        assert!(error.contains(named), "{path}: {error}");
    }
    assert!(read(b"{").is_err());
    assert!(read(b"[1]").is_err());
}

#[test]
fn a_template_must_be_the_familys() {
    let template = |single: Value, id: u32| {
        json!({"type": "TemplateProcessing", "single": single, "pair": [],
            "special_tokens": {
                "[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]},
                "[SEP]": {"id": "[SEP]", "ids": [id], "tokens": ["[SEP]"]}}})
    };
    let special = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let family = json!([special("[CLS]"), text, special("[SEP]")]);
    let mut good = file();
    good["post_processor"] = template(family.clone(), 3);
    assert!(read(good.to_string().as_bytes()).is_ok());
    let error = refused("/post_processor", template(family, 1));
    assert!(error.contains("post_processor.special_tokens.[SEP].ids = [1]"), "{error}");
    let error = refused("/post_processor", template(json!([text, special("[SEP]")]), 3));
    assert!(error.contains("post_processor.single = "), "{error}");
}
