//! The encoder: a BERT sentence transformer in quantised integers, without padding.
//!
//! text → [`Tokenizer`] → tokens → [`Encoder::embed`] → unit vectors
//!
//! Layout:
//! - `tokenizer`: text to token ids
//! - `config`, `float`, `quantise`: what a model directory holds, and how it becomes the quantised file
//! - `file`: that file, read in place
//! - `spread`: a call's sequences, cut into passes and spread over threads; `team`: one pass by several threads
//! - `forward`: the layers in order; [`kernels`]: their inner loops for each instruction set
//! - `speed`: how near they come to what the processor can do

mod config;
mod file;
mod float;
mod forward;
#[cfg(test)]
mod fuzzed;
pub mod kernels;
mod quantise;
mod speed;
mod spread;
mod team;
mod tokenizer;

use std::fmt;
use std::ops::Range;
use std::path::Path;

pub use config::Config;
pub use file::{About, Pooling};
pub use float::Float;
pub use quantise::{CALIBRATION, quantise};
pub use spread::CHUNK_TOKENS;
pub use tokenizer::{Rules, Tokenizer, TokenizerError};

use file::Weights;
use kernels::Isa;
use spread::Passes;

/// A model that cannot be used: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct ModelError {
    file: String,
    what: String,
}

impl ModelError {
    /// An error about `file`, for what reads a model from a place of its own.
    pub fn new(file: impl Into<String>, what: impl Into<String>) -> Self {
        Self { file: file.into(), what: what.into() }
    }
}

/// A sentence transformer, ready to run. Shared by all threads.
pub struct Encoder {
    weights: Weights<'static>,
    tokenizer: Tokenizer,
    isa: Isa,
    threads: usize,
    passes: Passes,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("about", &self.weights.about)
            .field("isa", &self.isa)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// The model compiled into the program: `all-MiniLM-L6-v2`. Its weights are used where they lie in the binary.
    pub fn embedded() -> Result<Self, ModelError> {
        #[repr(C, align(64))]
        struct Aligned<B: ?Sized>(B);
        static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../data/all-MiniLM-L6-v2.safetensors"));
        Self::read(&MODEL.0)
    }

    /// Takes the bytes of a quantised model, as [`quantise`] makes them, and keeps a copy for the life of the process.
    pub fn from_file(file: &[u8]) -> Result<Self, ModelError> {
        let (bytes, place) = aligned(file);
        Self::read(&bytes.leak()[place])
    }

    fn read(file: &'static [u8]) -> Result<Self, ModelError> {
        let weights = Weights::read(file)?;
        let tokenizer = weights.tokenizer(weights.vocabulary.into())?;
        Ok(Self { weights, tokenizer, isa: Isa::best(), threads: 1, passes: Passes::default() })
    }

    /// Spreads a batch over this many threads, the caller's among them; 1 unless set.
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Uses another instruction set than the best one.
    pub fn with_isa(mut self, isa: Isa) -> Self {
        self.isa = isa;
        self
    }

    /// Name, origin and shape of the model.
    pub fn about(&self) -> &About {
        &self.weights.about
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Length of an embedding.
    pub fn dimensions(&self) -> usize {
        self.weights.about.config.hidden_size
    }

    /// The tokenizer of this model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Token ids of a text, `[CLS]` and `[SEP]` included, cut to the longest sequence that the model takes.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_into(text, self.weights.about.max_tokens, &mut tokens);
        tokens
    }

    /// Embeds sequences of token ids, made by [`tokenize`](Self::tokenize): `[sequences][dimensions]`, each row of unit length.
    ///
    /// # Panics
    /// If a sequence is empty, longer than the model's positions, or has an id outside its vocabulary.
    pub fn embed<T: AsRef<[u32]>>(&self, sequences: &[T]) -> Vec<f32> {
        let sequences: Vec<&[u32]> = sequences.iter().map(AsRef::as_ref).collect();
        let config = &self.weights.about.config;
        for s in &sequences {
            assert!(!s.is_empty() && s.len() <= config.max_position_embeddings, "{} tokens", s.len());
            assert!(s.iter().all(|&t| (t as usize) < config.vocab_size), "a token outside the vocabulary");
        }
        let mut out = vec![0.0; sequences.len() * self.dimensions()];
        self.passes.run(&self.weights, self.isa, self.threads, &sequences, &mut out);
        out
    }
}

/// A copy that starts at a multiple of 64 bytes in memory, and where it is in the vector.
fn aligned(file: &[u8]) -> (Vec<u8>, Range<usize>) {
    let mut bytes = vec![0; file.len() + 64];
    let start = bytes.as_ptr().addr().next_multiple_of(64) - bytes.as_ptr().addr();
    let place = start..start + file.len();
    bytes[place.clone()].copy_from_slice(file);
    (bytes, place)
}

/// A float32 model directory.
#[derive(Debug)]
pub struct Source {
    float: Float,
    tokenizer: Tokenizer,
    about: About,
}

impl Source {
    /// Names of the files that make a model; those from the fourth on are read where they are.
    pub const FILES: [&str; 5] =
        ["config.json", "tokenizer.json", "model.safetensors", "sentence_bert_config.json", "1_Pooling/config.json"];

    /// Reads the [`FILES`](Self::FILES) of a directory.
    pub fn read(directory: &Path) -> Result<Self, ModelError> {
        let name = directory.canonicalize().ok();
        let name = name.as_deref().unwrap_or(directory).file_name();
        let name = name.map_or_else(|| "model".into(), |name| name.to_string_lossy());
        Self::from_files(&name, &directory.display().to_string(), |file| {
            let path = directory.join(file);
            match std::fs::read(&path) {
                Ok(bytes) => Ok(Some(bytes)),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
                Err(error) => Err(ModelError::new(path.display().to_string(), error.to_string())),
            }
        })
    }

    /// Reads a model whose [`FILES`](Self::FILES) `open` returns; `None` for one that is not there. `origin` is where they are,
    /// for errors and [`About`].
    pub fn from_files(
        name: &str,
        origin: &str,
        open: impl Fn(&str) -> Result<Option<Vec<u8>>, ModelError>,
    ) -> Result<Self, ModelError> {
        use sha2::Digest;
        let file = |name: &str| {
            open(name)?.ok_or_else(|| ModelError::new(format!("{origin}: {name}"), "there is no such file"))
        };
        let config = Config::from_json(&file("config.json")?)?;
        let tokenizer = Tokenizer::from_json(&file("tokenizer.json")?)
            .map_err(|error| ModelError::new("tokenizer.json", error.to_string()))?;
        let count = tokenizer.vocabulary().len();
        if count != config.vocab_size {
            return Err(ModelError::new(
                "tokenizer.json",
                format!("{count} tokens; config.json says {}", config.vocab_size),
            ));
        }
        let weights = file("model.safetensors")?;
        let source_sha256: String = sha2::Sha256::digest(&weights).iter().map(|b| format!("{b:02x}")).collect();
        let optional = |name: &str| -> Result<serde_json::Value, ModelError> {
            match open(name)? {
                Some(text) => serde_json::from_slice(&text).map_err(|e| ModelError::new(name, e.to_string())),
                None => Ok(serde_json::Value::Null),
            }
        };
        let max_tokens = optional("sentence_bert_config.json")?["max_seq_length"].as_u64().map_or(256, |n| n as usize);
        let pooling = optional("1_Pooling/config.json")?;
        let set = |mode: &str| pooling[mode].as_bool();
        let pooling = match (set("pooling_mode_mean_tokens"), set("pooling_mode_cls_token")) {
            (None | Some(true), _) => Pooling::Mean,
            (_, Some(true)) => Pooling::Cls,
            _ => {
                return Err(ModelError::new(
                    "1_Pooling/config.json",
                    "neither mean nor cls pooling; others are not supported",
                ));
            }
        };
        let about = About {
            name: name.to_owned(),
            origin: origin.to_owned(),
            license: "unknown".to_owned(),
            source_sha256,
            max_tokens: max_tokens.clamp(2, config.max_position_embeddings),
            pooling,
            rules: tokenizer.rules(),
            config: config.clone(),
        };
        Ok(Self { float: Float::read(&weights, config)?, tokenizer, about })
    }

    /// Sets what the header says of name, origin and licence.
    pub fn named(mut self, name: &str, origin: &str, license: &str) -> Self {
        (self.about.name, self.about.origin, self.about.license) =
            (name.to_owned(), origin.to_owned(), license.to_owned());
        self
    }

    /// Name of the model: that of its directory, unless set.
    pub fn name(&self) -> &str {
        &self.about.name
    }

    /// sha256 of the float32 weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.about.source_sha256
    }

    /// The bytes of the quantised model.
    pub fn quantise(&self) -> Result<Vec<u8>, ModelError> {
        quantise(&self.float, &self.tokenizer, &self.about)
    }

    /// The embedding of a text by the float32 weights: slow and exact.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_into(text, self.about.max_tokens, &mut tokens);
        let h = self.about.config.hidden_size;
        let x = self.float.forward(&tokens, &mut |_, _, _| {});
        let rows = if self.about.pooling == Pooling::Cls { 1 } else { tokens.len() };
        let mut out = vec![0.0; h];
        for row in x.chunks_exact(h).take(rows) {
            out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
        }
        let length = out.iter().map(|v| v * v).sum::<f32>().sqrt();
        out.iter_mut().for_each(|v| *v /= length);
        out
    }
}
