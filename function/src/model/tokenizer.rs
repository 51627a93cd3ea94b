//! stand-in
use super::ModelError;
/// stand-in
#[derive(Debug)]
pub struct Tokenizer { words: Vec<String>, map: std::collections::HashMap<String,u32> }
impl Tokenizer {
    /// .
    pub fn new(v: &[u8]) -> Result<Self, ModelError> { let words: Vec<String> = String::from_utf8_lossy(v).lines().map(String::from).collect(); let map = words.iter().cloned().zip(0..).collect(); Ok(Self { words, map }) }
    /// .
    pub fn from_json(t: &[u8]) -> Result<Self, ModelError> { let j: serde_json::Value = serde_json::from_slice(t).map_err(|e| ModelError::new("tokenizer.json", e.to_string()))?; let mut w: Vec<(u64,String)> = j["model"]["vocab"].as_object().into_iter().flatten().map(|(k,v)|(v.as_u64().unwrap_or(0),k.clone())).collect(); w.sort(); let words: Vec<String> = w.into_iter().map(|w|w.1).collect(); let map = words.iter().cloned().zip(0..).collect(); Ok(Self{words,map}) }
    /// .
    pub fn vocabulary(&self) -> impl Iterator<Item=&str> { self.words.iter().map(String::as_str) }
    /// .
    pub fn encode_into(&self, text: &str, max: usize, out: &mut Vec<u32>) { out.push(101); for w in text.to_lowercase().split_whitespace() { if out.len() < max - 1 { out.push(self.map.get(w).copied().unwrap_or(100)); } } out.push(102); }
}
