//! The shape of an encoder, as `config.json` gives it.

use serde::{Deserialize, Deserializer, Serialize};

use super::ModelError;
use super::kernels::CHANNELS;

/// Hyperparameters of a BERT encoder, under the names of transformers' `BertConfig`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// Always `bert`.
    pub model_type: String,
    /// Width of a token's vector, and of an embedding.
    pub hidden_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Attention heads of a layer.
    pub num_attention_heads: usize,
    /// Width of the feed-forward part.
    pub intermediate_size: usize,
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Longest sequence that there are position embeddings for.
    pub max_position_embeddings: usize,
    /// Added to the variance in layer norms.
    #[serde(default = "default_epsilon", deserialize_with = "epsilon")]
    pub layer_norm_eps: f32,
    /// Always `gelu`.
    #[serde(default = "default_activation", deserialize_with = "activation")]
    pub hidden_act: String,
    /// Always `absolute`.
    #[serde(default = "default_positions", deserialize_with = "positions")]
    pub position_embedding_type: String,
}

fn default_epsilon() -> f32 {
    1e-12
}
fn default_activation() -> String {
    "gelu".to_owned()
}
fn default_positions() -> String {
    "absolute".to_owned()
}

// What is `null` is not set.
fn epsilon<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(default_epsilon))
}
fn activation<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(default_activation))
}
fn positions<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_else(default_positions))
}

impl Config {
    /// Reads and checks the text of a `config.json`.
    pub fn from_json(text: &[u8]) -> Result<Self, ModelError> {
        let config: Self =
            serde_json::from_slice(text).map_err(|error| ModelError::new("config.json", error.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// Refuses shapes that the kernels do not compute, and sizes no such model has.
    pub(super) fn check(&self) -> Result<(), ModelError> {
        let wrong = |field: &str, found: &dyn std::fmt::Display, right: &str| {
            Err(ModelError::new("config.json", format!("`{field}` is {found}; supported: {right}")))
        };
        if self.model_type != "bert" {
            return wrong("model_type", &self.model_type, "bert");
        }
        if self.hidden_act != "gelu" {
            return wrong("hidden_act", &self.hidden_act, "gelu");
        }
        if self.position_embedding_type != "absolute" {
            return wrong("position_embedding_type", &self.position_embedding_type, "absolute");
        }
        if !self.hidden_size.is_multiple_of(CHANNELS) || !(CHANNELS..=4096).contains(&self.hidden_size) {
            return wrong("hidden_size", &self.hidden_size, "a multiple of 32 up to 4096");
        }
        if !self.intermediate_size.is_multiple_of(CHANNELS) || !(CHANNELS..=16384).contains(&self.intermediate_size) {
            return wrong("intermediate_size", &self.intermediate_size, "a multiple of 32 up to 16384");
        }
        if self.num_attention_heads == 0
            || !self.hidden_size.is_multiple_of(self.num_attention_heads)
            || !(self.hidden_size / self.num_attention_heads).is_multiple_of(CHANNELS)
            || self.hidden_size / self.num_attention_heads > 512
        {
            return wrong(
                "num_attention_heads",
                &self.num_attention_heads,
                "a number that makes each head a multiple of 32 wide, up to 512",
            );
        }
        if !(1..=48).contains(&self.num_hidden_layers) {
            return wrong("num_hidden_layers", &self.num_hidden_layers, "1 to 48");
        }
        if !(5..=1_000_000).contains(&self.vocab_size) {
            return wrong("vocab_size", &self.vocab_size, "5 to 1,000,000");
        }
        if !(2..=8192).contains(&self.max_position_embeddings) {
            return wrong("max_position_embeddings", &self.max_position_embeddings, "2 to 8192");
        }
        if !(self.layer_norm_eps > 0.0 && self.layer_norm_eps < 1.0) {
            return wrong("layer_norm_eps", &self.layer_norm_eps, "a number between 0 and 1");
        }
        Ok(())
    }
}
