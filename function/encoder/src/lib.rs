//! A BERT sentence transformer on the CPU: text in, unit vectors out, in quantised integers and without padding.
//!
//! ```
//! use encoder::Encoder;
//!
//! let encoder = Encoder::embedded()?.with_threads(2);
//! let texts = ["Rice is boiled in water.", "How do I cook rice?", "Shares fell on Monday."];
//! let tokens: Vec<Vec<u32>> = texts.iter().map(|text| encoder.tokenize(text)).collect();
//! let vectors = encoder.embed(&tokens); // [texts][dimensions], row by row
//! let rows: Vec<&[f32]> = vectors.chunks_exact(encoder.dimensions()).collect();
//! let cosine = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
//! assert!(cosine(rows[0], rows[1]) > cosine(rows[0], rows[2]));
//! # Ok::<(), encoder::ModelError>(())
//! ```
//!
//! The crate knows nothing of messages, HTTP or Google Cloud. The embedded model is `all-MiniLM-L6-v2`;
//! [`SourceModel`] reads any other BERT encoder with the files of sentence-transformers and quantises it.
//!
//! # How a text becomes a vector
//!
//! 1. [`Tokenizer`] makes token ids of it, the same as Hugging Face's `tokenizers`.
//! 2. The scheduler cuts the sequences of a call into chunks and distributes them over threads. Few long sequences
//!    are instead computed by all threads together, split by attention head and by token (tensor parallelism).
//! 3. The forward pass runs over sequences laid end to end, so no work goes into padding. Matrix products multiply
//!    7-bit weights by 7-bit activations; everything else is float32.
//! 4. Token vectors are pooled and scaled to unit length.
//!
//! The integer products are exact, so every instruction set and every number of threads gives the same result up to the
//! rounding of float32 additions.
//!
//! # Layout
//!
//! - `tokenizer`: text to token ids
//! - `config`, `reference`, `quantise`: the files of a model directory, the float32 model, and its quantisation
//! - `format`: the quantised model file, read in place
//! - `scheduler`: distributes the sequences of a call over threads; `tensor_parallel`: one forward pass on several
//!   threads
//! - `forward`: the layers in order; [`kernels`]: their inner loops for each instruction set
//! - `peak`: the processor's highest speed and the share of it that the matrix products reach, for benchmarks

mod config;
mod format;
mod forward;
#[cfg(test)]
mod fuzzed;
pub mod kernels;
mod peak;
mod quantise;
mod reference;
mod scheduler;
mod tensor_parallel;
mod tokenizer;

use std::fmt;
use std::ops::Range;
use std::path::Path;

pub use config::Config;
pub use format::{Metadata, Pooling};
pub use quantise::{CALIBRATION, quantise};
pub use reference::ReferenceModel;
pub use scheduler::CHUNK_TOKENS;
pub use tokenizer::{Normalizer, Tokenizer, TokenizerError};

use format::Weights;
use kernels::Isa;
use scheduler::Scheduler;

/// A model that cannot be used: which file, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {what}")]
pub struct ModelError {
    file: String,
    what: String,
}

impl ModelError {
    /// `file`: the file that cannot be used; `what`: what is wrong with it.
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
    scheduler: Scheduler,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("metadata", &self.weights.metadata)
            .field("isa", &self.isa)
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// The model compiled into the program: `all-MiniLM-L6-v2`. Its weights are read in place, from the pages of the
    /// binary.
    pub fn embedded() -> Result<Self, ModelError> {
        #[repr(C, align(64))]
        struct Aligned<B: ?Sized>(B);
        static MODEL: &Aligned<[u8]> = &Aligned(*include_bytes!("../data/all-MiniLM-L6-v2.safetensors"));
        Self::read(&MODEL.0)
    }

    /// Takes the bytes of a quantised model, as [`quantise`] makes them, and keeps a copy for the life of the process.
    pub fn from_file(file: &[u8]) -> Result<Self, ModelError> {
        let (bytes, range) = aligned(file);
        Self::read(&bytes.leak()[range])
    }

    fn read(file: &'static [u8]) -> Result<Self, ModelError> {
        let weights = Weights::read(file)?;
        let tokenizer = weights.tokenizer(weights.vocabulary.into())?;
        Ok(Self { weights, tokenizer, isa: Isa::best(), threads: 1, scheduler: Scheduler::default() })
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
    pub fn metadata(&self) -> &Metadata {
        &self.weights.metadata
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Length of an embedding.
    pub fn dimensions(&self) -> usize {
        self.weights.metadata.config.hidden_size
    }

    /// The tokenizer of this model.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// Token ids of a text, `[CLS]` and `[SEP]` included, cut to the longest sequence that the model takes.
    pub fn tokenize(&self, text: &str) -> Vec<u32> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_into(text, self.weights.metadata.max_tokens, &mut tokens);
        tokens
    }

    /// Embeds sequences of token ids, made by [`tokenize`](Self::tokenize): `[sequences][dimensions]`, each row of
    /// unit length.
    ///
    /// # Panics
    /// If a sequence is empty, longer than the model's positions, or has an id outside its vocabulary.
    pub fn embed<T: AsRef<[u32]>>(&self, sequences: &[T]) -> Vec<f32> {
        let sequences: Vec<&[u32]> = sequences.iter().map(AsRef::as_ref).collect();
        let config = &self.weights.metadata.config;
        for s in &sequences {
            assert!(!s.is_empty() && s.len() <= config.max_position_embeddings, "{} tokens", s.len());
            assert!(s.iter().all(|&t| (t as usize) < config.vocab_size), "a token outside the vocabulary");
        }
        let mut out = vec![0.0; sequences.len() * self.dimensions()];
        self.scheduler.run(&self.weights, self.isa, self.threads, &sequences, &mut out);
        out
    }
}

/// A copy that starts at a multiple of 64 bytes in memory, and where it is in the vector.
fn aligned(file: &[u8]) -> (Vec<u8>, Range<usize>) {
    let mut bytes = vec![0; file.len() + 64];
    let start = bytes.as_ptr().addr().next_multiple_of(64) - bytes.as_ptr().addr();
    let range = start..start + file.len();
    bytes[range.clone()].copy_from_slice(file);
    (bytes, range)
}

/// A float32 model as sentence-transformers stores it, before quantisation.
#[derive(Debug)]
pub struct SourceModel {
    reference: ReferenceModel,
    tokenizer: Tokenizer,
    metadata: Metadata,
}

/// A byte-order mark in UTF-8.
const BOM: &[u8] = "\u{feff}".as_bytes();

impl SourceModel {
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

    /// Reads a model whose [`FILES`](Self::FILES) `open` returns; `None` for one that is not there. `origin` is where
    /// they are, for errors and [`Metadata`].
    pub fn from_files(
        name: &str,
        origin: &str,
        open: impl Fn(&str) -> Result<Option<Vec<u8>>, ModelError>,
    ) -> Result<Self, ModelError> {
        use sha2::Digest;
        // A byte-order mark, which some editors put before JSON, is no part of it.
        let open = |name: &str| -> Result<Option<Vec<u8>>, ModelError> {
            let mut file = open(name)?;
            if let Some(bytes) = file.as_mut().filter(|bytes| name.ends_with(".json") && bytes.starts_with(BOM)) {
                bytes.drain(..BOM.len());
            }
            Ok(file)
        };
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
        let wrong = |file: &str, field: &str, found: &serde_json::Value, right: &str| {
            ModelError::new(file, format!("`{field}` is {found}; expected {right}"))
        };
        let max_tokens = match &optional("sentence_bert_config.json")?["max_seq_length"] {
            serde_json::Value::Null => 256,
            found => found.as_u64().map(|number| usize::try_from(number).unwrap_or(usize::MAX)).ok_or_else(|| {
                wrong("sentence_bert_config.json", "max_seq_length", found, "a whole number, or null")
            })?,
        };
        let pooling = optional("1_Pooling/config.json")?;
        let set = |mode: &str| match &pooling[mode] {
            serde_json::Value::Null => Ok(None),
            serde_json::Value::Bool(set) => Ok(Some(*set)),
            found => Err(wrong("1_Pooling/config.json", mode, found, "true or false, or null")),
        };
        let pooling = match (set("pooling_mode_mean_tokens")?, set("pooling_mode_cls_token")?) {
            (None | Some(true), _) => Pooling::Mean,
            (_, Some(true)) => Pooling::Cls,
            _ => {
                return Err(ModelError::new(
                    "1_Pooling/config.json",
                    "neither mean nor cls pooling; others are not supported",
                ));
            }
        };
        let metadata = Metadata {
            name: name.to_owned(),
            origin: origin.to_owned(),
            license: "unknown".to_owned(),
            source_sha256,
            max_tokens: max_tokens.clamp(2, config.max_position_embeddings),
            pooling,
            normalizer: tokenizer.normalizer(),
            config: config.clone(),
        };
        Ok(Self { reference: ReferenceModel::read(&weights, config)?, tokenizer, metadata })
    }

    /// Sets what the header says of name, origin and licence.
    pub fn named(mut self, name: &str, origin: &str, license: &str) -> Self {
        (self.metadata.name, self.metadata.origin, self.metadata.license) =
            (name.to_owned(), origin.to_owned(), license.to_owned());
        self
    }

    /// Name of the model: that of its directory, unless set.
    pub fn name(&self) -> &str {
        &self.metadata.name
    }

    /// sha256 of the float32 weights, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.metadata.source_sha256
    }

    /// The bytes of the quantised model.
    pub fn quantise(&self) -> Result<Vec<u8>, ModelError> {
        quantise(&self.reference, &self.tokenizer, &self.metadata)
    }

    /// The embedding of a text by the float32 weights: slow and exact.
    pub fn embed(&self, text: &str) -> Vec<f32> {
        let mut tokens = Vec::new();
        self.tokenizer.encode_into(text, self.metadata.max_tokens, &mut tokens);
        let h = self.metadata.config.hidden_size;
        let x = self.reference.forward(&tokens, &mut |_, _, _| {});
        let rows = if self.metadata.pooling == Pooling::Cls { 1 } else { tokens.len() };
        let mut out = vec![0.0; h];
        for row in x.chunks_exact(h).take(rows) {
            out.iter_mut().zip(row).for_each(|(o, v)| *o += v);
        }
        let length = out.iter().map(|v| v * v).sum::<f32>().sqrt();
        out.iter_mut().for_each(|v| *v /= length);
        out
    }
}
