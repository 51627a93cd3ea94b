//! Reading a `tokenizer.json`, as Hugging Face's `tokenizers` writes it.

use std::collections::BTreeMap;

use serde_json::Value;

use super::word::MAX_WORD_CHARACTERS;
use super::{CLS, Normalizer, SEP, SPECIAL, TokenizerError, UNKNOWN};

/// The vocabulary, one token a line, and the normalizer; every part of the file that could change a token is checked.
pub(super) fn read(text: &[u8]) -> Result<(Vec<u8>, Normalizer), TokenizerError> {
    let root: Value = serde_json::from_slice(text)?;
    let file = Field { path: String::new(), value: &root };
    let model = file.get("model");
    model.get("type").must_be("WordPiece")?;
    model.get("unk_token").must_be(UNKNOWN)?;
    model.get("continuing_subword_prefix").must_be("##")?;
    model.get("max_input_chars_per_word").must_be(MAX_WORD_CHARACTERS)?;
    file.get("pre_tokenizer").get("type").must_be("BertPreTokenizer")?;
    let normalizer = normalizer(&file.get("normalizer"))?;
    let ids = ids(&model.get("vocab"))?;
    added_tokens(&file.get("added_tokens"), &ids)?;
    post_processor(&file.get("post_processor"), &ids)?;
    Ok((lines(&ids, &model.get("vocab"))?, normalizer))
}

/// A value and where it is.
struct Field<'a> {
    path: String,
    value: &'a Value,
}

impl<'a> Field<'a> {
    fn get(&self, key: &str) -> Self {
        let dot = if self.path.is_empty() { "" } else { "." };
        Self { path: format!("{}{dot}{key}", self.path), value: self.value.get(key).unwrap_or(&Value::Null) }
    }

    fn items(&self) -> impl Iterator<Item = Field<'a>> {
        let items = self.value.as_array().map(Vec::as_slice).unwrap_or_default();
        items.iter().enumerate().map(|(at, value)| Field { path: format!("{}[{at}]", self.path), value })
    }

    fn unsupported(&self, wanted: &'static str) -> TokenizerError {
        let mut found = self.value.to_string();
        if found.chars().count() > 60 {
            found = found.chars().take(60).chain("…".chars()).collect();
        }
        TokenizerError::Unsupported { field: self.path.clone(), found, wanted }
    }

    fn must_be<T: Wanted>(&self, wanted: T) -> Result<(), TokenizerError>
    where
        Value: PartialEq<T>,
    {
        if *self.value == wanted { Ok(()) } else { Err(self.unsupported(wanted.text())) }
    }

    fn flag(&self) -> Result<bool, TokenizerError> {
        self.value.as_bool().ok_or_else(|| self.unsupported("true or false"))
    }
}

/// How an expected value is named in an error.
trait Wanted: Copy {
    fn text(self) -> &'static str;
}

impl Wanted for &'static str {
    fn text(self) -> &'static str {
        self
    }
}

impl Wanted for bool {
    fn text(self) -> &'static str {
        if self { "true" } else { "false" }
    }
}

impl Wanted for usize {
    fn text(self) -> &'static str {
        "100"
    }
}

fn normalizer(normalizer: &Field<'_>) -> Result<Normalizer, TokenizerError> {
    normalizer.get("type").must_be("BertNormalizer")?;
    let lowercase = normalizer.get("lowercase").flag()?;
    let strip_accents = normalizer.get("strip_accents");
    Ok(Normalizer {
        clean_text: normalizer.get("clean_text").flag()?,
        handle_chinese_chars: normalizer.get("handle_chinese_chars").flag()?,
        // `null` follows `lowercase`, as in BERT's own code.
        strip_accents: if strip_accents.value.is_null() { lowercase } else { strip_accents.flag()? },
        lowercase,
    })
}

type Ids<'a> = BTreeMap<&'a str, u64>;

fn ids<'a>(vocab: &Field<'a>) -> Result<Ids<'a>, TokenizerError> {
    let wanted = "an object of tokens and their ids";
    let vocab_object = vocab.value.as_object().ok_or_else(|| vocab.unsupported(wanted))?;
    vocab_object
        .iter()
        .map(|(token, id)| {
            let id = id.as_u64().ok_or_else(|| vocab.get(token).unsupported("an id"))?;
            Ok((token.as_str(), id))
        })
        .collect()
}

/// Added tokens may only be the family's special ones with their usual meaning.
fn added_tokens(added: &Field<'_>, ids: &Ids<'_>) -> Result<(), TokenizerError> {
    let mut missing: Vec<_> = SPECIAL.into_iter().filter(|token| ids.contains_key(token)).collect();
    for token in added.items() {
        let content = token.get("content");
        let text = content.value.as_str().unwrap_or_default();
        if !SPECIAL.contains(&text) {
            return Err(content.unsupported("[PAD], [UNK], [CLS], [SEP] or [MASK]"));
        }
        let id = token.get("id");
        if id.value.as_u64() != ids.get(text).copied() || id.value.is_null() {
            return Err(id.unsupported("the id that the vocabulary gives the token"));
        }
        for flag in ["single_word", "lstrip", "rstrip", "normalized"] {
            token.get(flag).must_be(false)?;
        }
        missing.retain(|token| *token != text);
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(added.unsupported("a list of all special tokens of the vocabulary")),
    }
}

/// `[CLS]`, the text, `[SEP]`, in either of the two forms that say so.
fn post_processor(post: &Field<'_>, ids: &Ids<'_>) -> Result<(), TokenizerError> {
    let wanted_id = "the id that the vocabulary gives the token";
    let kind = post.get("type");
    match kind.value.as_str() {
        Some("BertProcessing") => {
            for (key, token) in [("cls", CLS), ("sep", SEP)] {
                let pair = post.get(key);
                let items: Vec<_> = pair.items().collect();
                let [name, id] = &items[..] else {
                    return Err(pair.unsupported("a token and its id"));
                };
                name.must_be(token)?;
                if id.value.as_u64() != ids.get(token).copied() {
                    return Err(id.unsupported(wanted_id));
                }
            }
            Ok(())
        }
        Some("TemplateProcessing") => {
            let single = post.get("single");
            let parts: Vec<_> = single.items().collect();
            let name = |at: usize, kind| parts.get(at).and_then(|part| part.get(kind).get("id").value.as_str());
            let names = [name(0, "SpecialToken"), name(1, "Sequence"), name(2, "SpecialToken")];
            if parts.len() != 3 || names != [Some(CLS), Some("A"), Some(SEP)] {
                return Err(single.unsupported("[CLS], the text and [SEP]"));
            }
            for token in [CLS, SEP] {
                let list = post.get("special_tokens").get(token).get("ids");
                let found: Vec<_> = list.items().map(|id| id.value.as_u64()).collect();
                if found != [ids.get(token).copied()] {
                    return Err(list.unsupported(wanted_id));
                }
            }
            Ok(())
        }
        _ => Err(kind.unsupported("TemplateProcessing or BertProcessing")),
    }
}

/// The tokens in the order of their ids, which must be all the numbers from 0 on.
fn lines(ids: &Ids<'_>, vocab: &Field<'_>) -> Result<Vec<u8>, TokenizerError> {
    let mut order: Vec<_> = ids.iter().map(|(token, id)| (*id, *token)).collect();
    order.sort_unstable();
    let mut out = Vec::new();
    for (expected, (id, token)) in (0..).zip(order) {
        if id != expected {
            return Err(vocab.get(token).unsupported("ids from 0 on, without gaps and doubles"));
        }
        if token.contains('\n') {
            return Err(vocab.get(token).unsupported("tokens without a line break"));
        }
        out.extend_from_slice(token.as_bytes());
        out.push(b'\n');
    }
    Ok(out)
}

#[cfg(test)]
mod tests;
