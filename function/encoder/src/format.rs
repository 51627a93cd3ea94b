//! The quantised model file, read in place.
//!
//! The container is [safetensors](https://huggingface.co/docs/safetensors): a JSON header, then the tensors. On top
//! of that format every tensor starts at a multiple of 64 bytes, so that a vector load never spans two cache lines,
//! and linear layers are stored in the order that the kernels read ([`Linear::weight`]). Numbers are little-endian.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytemuck::Pod;
use safetensors::{Dtype, SafeTensors};
use serde::{Deserialize, Serialize};

use super::kernels::{DEPTH, Linear, PANEL};
use super::{Config, ModelError, Normalizer, Tokenizer};

/// Version of the layout; another one is refused.
const FORMAT: &str = "quantised-bert-1";

/// How token vectors become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// The mean of all tokens.
    Mean,
    /// The first token's vector.
    Cls,
}

/// The model's description in the file's header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name that results carry as `model`.
    pub name: String,
    /// Where the weights come from.
    pub origin: String,
    /// Their licence.
    pub license: String,
    /// sha256 of the float32 `model.safetensors`, in hexadecimal.
    pub source_sha256: String,
    /// The hyperparameters.
    pub config: Config,
    /// Longest sequence, `[CLS]` and `[SEP]` included; longer texts are cut.
    pub max_tokens: usize,
    /// How token vectors become one vector.
    pub pooling: Pooling,
    /// How text is normalised before it is matched with the vocabulary.
    #[serde(rename = "rules")]
    pub normalizer: Normalizer,
}

/// Builds the bytes.
pub(super) struct Writer {
    metadata: BTreeMap<&'static str, String>,
    tensors: BTreeMap<String, Entry>,
    data: Vec<u8>,
}

#[derive(Serialize)]
struct Entry {
    dtype: &'static str,
    shape: Vec<usize>,
    data_offsets: [usize; 2],
}

#[derive(Serialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: BTreeMap<&'static str, String>,
    #[serde(flatten)]
    tensors: BTreeMap<String, Entry>,
}

impl Writer {
    pub(super) fn new(metadata: &Metadata) -> Result<Self, ModelError> {
        let text = serde_json::to_string(metadata).map_err(|e| ModelError::new("header", e.to_string()))?;
        let header = BTreeMap::from([("format", FORMAT.to_owned()), ("about", text)]);
        Ok(Self { metadata: header, tensors: BTreeMap::new(), data: Vec::new() })
    }

    fn bytes(&mut self, name: &str, dtype: &'static str, shape: &[usize], bytes: &[u8]) {
        let begin = self.data.len();
        self.data.extend_from_slice(bytes);
        let end = self.data.len();
        let entry = Entry { dtype, shape: shape.to_vec(), data_offsets: [begin, end] };
        self.tensors.insert(name.to_owned(), entry);
        // The format allows no holes between tensors, so padding is a tensor.
        let padding = end.next_multiple_of(64) - end;
        if padding > 0 {
            self.data.resize(end + padding, 0);
            let data_offsets = [end, end + padding];
            let entry = Entry { dtype: "U8", shape: vec![padding], data_offsets };
            self.tensors.insert(format!("{name}.padding"), entry);
        }
    }

    pub(super) fn i8(&mut self, name: &str, shape: &[usize], x: &[i8]) {
        self.bytes(name, "I8", shape, bytemuck::cast_slice(x));
    }

    pub(super) fn u8(&mut self, name: &str, x: &[u8]) {
        self.bytes(name, "U8", &[x.len()], x);
    }

    pub(super) fn f32(&mut self, name: &str, x: &[f32]) {
        let bytes: Vec<u8> = x.iter().flat_map(|x| x.to_le_bytes()).collect();
        self.bytes(name, "F32", &[x.len()], &bytes);
    }

    /// Header length, header padded with spaces to a multiple of 64, tensors.
    pub(super) fn finish(self) -> Result<Vec<u8>, ModelError> {
        let header = Header { metadata: self.metadata, tensors: self.tensors };
        let mut header = serde_json::to_vec(&header).map_err(|e| ModelError::new("header", e.to_string()))?;
        header.resize((header.len() + 8).next_multiple_of(64) - 8, b' ');
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend(header);
        file.extend(self.data);
        Ok(file)
    }
}

/// A linear layer in the file's layout, and the factors its input is multiplied by before it is quantised.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layer<'a> {
    pub(super) linear: Linear<'a>,
    pub(super) input: Option<&'a [f32]>,
}

/// One transformer layer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block<'a> {
    pub(super) qkv: Layer<'a>,
    pub(super) attention_output: Layer<'a>,
    pub(super) attention_norm: Norm<'a>,
    pub(super) intermediate: Layer<'a>,
    pub(super) output: Layer<'a>,
    pub(super) output_norm: Norm<'a>,
}

/// Scale and shift of a layer norm, `[hidden]` each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Norm<'a> {
    pub(super) gamma: &'a [f32],
    pub(super) beta: &'a [f32],
}

/// Rows of signed bytes, each with a scale.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table<'a> {
    pub(super) rows: &'a [i8],
    pub(super) scale: &'a [f32],
}

/// A model read in place: views into its bytes.
#[derive(Clone, Debug)]
pub(super) struct Weights<'a> {
    pub(super) metadata: Metadata,
    pub(super) vocabulary: &'a [u8],
    pub(super) words: Table<'a>,
    pub(super) positions: Table<'a>,
    pub(super) embedding_norm: Norm<'a>,
    pub(super) blocks: Vec<Block<'a>>,
}

impl<'a> Weights<'a> {
    /// Checks the header and every size, and takes the views. `file` starts at a multiple of 64 bytes in memory.
    pub(super) fn read(file: &'a [u8]) -> Result<Self, ModelError> {
        const _: () = assert!(cfg!(target_endian = "little"), "model files are little-endian");
        let wrong = |what: String| ModelError::new("quantised model", what);
        if !file.as_ptr().addr().is_multiple_of(64) {
            return Err(wrong("the bytes do not start at a multiple of 64".to_owned()));
        }
        let (length, header) = SafeTensors::read_metadata(file).map_err(|error| wrong(error.to_string()))?;
        let note = |key: &str| {
            header
                .metadata()
                .as_ref()
                .and_then(|notes| notes.get(key))
                .ok_or_else(|| wrong(format!("the header has no `{key}`")))
        };
        let format = note("format")?;
        if format != FORMAT {
            return Err(wrong(format!("layout `{format}`; this program reads `{FORMAT}`")));
        }
        let metadata: Metadata = serde_json::from_str(note("about")?).map_err(|error| wrong(error.to_string()))?;
        metadata.config.check()?;
        let positions = metadata.config.max_position_embeddings;
        if !(2..=positions).contains(&metadata.max_tokens) {
            return Err(wrong(format!("`max_tokens` is {}; there are {positions} positions", metadata.max_tokens)));
        }
        let data = file.get(length + 8..).unwrap_or_default();
        let reader = Reader { data, header };
        let (h, m) = (metadata.config.hidden_size, metadata.config.intermediate_size);
        let blocks = (0..metadata.config.num_hidden_layers)
            .map(|i| {
                let name = |part: &str| format!("layer.{i}.{part}");
                Ok(Block {
                    qkv: reader.layer(&name("qkv"), h, 3 * h, true)?,
                    attention_output: reader.layer(&name("attention_output"), h, h, false)?,
                    attention_norm: reader.norm(&name("attention_norm"), h)?,
                    intermediate: reader.layer(&name("intermediate"), h, m, true)?,
                    output: reader.layer(&name("output"), m, h, false)?,
                    output_norm: reader.norm(&name("output_norm"), h)?,
                })
            })
            .collect::<Result<_, ModelError>>()?;
        Ok(Self {
            vocabulary: reader.get("vocabulary", Dtype::U8, None)?,
            words: reader.table("words", metadata.config.vocab_size, h)?,
            positions: reader.table("positions", metadata.config.max_position_embeddings, h)?,
            embedding_norm: reader.norm("embedding_norm", h)?,
            blocks,
            metadata,
        })
    }

    /// The tokenizer of this model, from its vocabulary.
    pub(super) fn tokenizer(&self, vocabulary: Cow<'static, [u8]>) -> Result<Tokenizer, ModelError> {
        let wrong = |what: String| ModelError::new("quantised model", what);
        let tokenizer = Tokenizer::from_vocabulary(vocabulary, self.metadata.normalizer)
            .map_err(|error| wrong(error.to_string()))?;
        let (found, size) = (tokenizer.vocabulary().len(), self.metadata.config.vocab_size);
        if found != size {
            return Err(wrong(format!("{found} tokens in the vocabulary; `vocab_size` is {size}")));
        }
        Ok(tokenizer)
    }
}

struct Reader<'a> {
    data: &'a [u8],
    header: safetensors::tensor::Metadata,
}

impl<'a> Reader<'a> {
    fn get<T: Pod>(&self, name: &str, dtype: Dtype, count: Option<usize>) -> Result<&'a [T], ModelError> {
        let wrong = |what: String| ModelError::new("quantised model", format!("tensor `{name}`: {what}"));
        let info = self.header.info(name).ok_or_else(|| wrong("missing".to_owned()))?;
        if info.dtype != dtype {
            return Err(wrong(format!("of type {:?}, not {dtype:?}", info.dtype)));
        }
        let bytes = self
            .data
            .get(info.data_offsets.0..info.data_offsets.1)
            .ok_or_else(|| wrong("reaches past the end of the file".to_owned()))?;
        let values: &[T] = bytemuck::try_cast_slice(bytes).map_err(|e| wrong(e.to_string()))?;
        match count {
            Some(count) if values.len() != count => Err(wrong(format!("{} values, not {count}", values.len()))),
            _ => Ok(values),
        }
    }

    fn f32(&self, name: &str, count: usize) -> Result<&'a [f32], ModelError> {
        self.get(name, Dtype::F32, Some(count))
    }

    fn layer(&self, name: &str, width: usize, channels: usize, input: bool) -> Result<Layer<'a>, ModelError> {
        let depth = width.next_multiple_of(DEPTH);
        Ok(Layer {
            linear: Linear {
                depth,
                channels,
                weight: self.get(&format!("{name}.weight"), Dtype::I8, Some(depth * channels))?,
                scale: self.f32(&format!("{name}.scale"), channels)?,
                offset: self.f32(&format!("{name}.offset"), channels)?,
                bias: self.f32(&format!("{name}.bias"), channels)?,
            },
            input: if input { Some(self.f32(&format!("{name}.input"), width)?) } else { None },
        })
    }

    fn norm(&self, name: &str, width: usize) -> Result<Norm<'a>, ModelError> {
        Ok(Norm { gamma: self.f32(&format!("{name}.gamma"), width)?, beta: self.f32(&format!("{name}.beta"), width)? })
    }

    fn table(&self, name: &str, rows: usize, width: usize) -> Result<Table<'a>, ModelError> {
        Ok(Table {
            rows: self.get(&format!("{name}.rows"), Dtype::I8, Some(rows * width))?,
            scale: self.f32(&format!("{name}.scale"), rows)?,
        })
    }
}

/// Puts `[channels][width]` bytes into the order of [`Linear::weight`].
pub(super) fn pack(weight: &[i8], width: usize, channels: usize) -> Vec<i8> {
    let depth = width.next_multiple_of(DEPTH);
    let mut packed = vec![0; depth * channels];
    for (c, row) in weight.chunks_exact(width).enumerate() {
        let panel = c / PANEL * depth * PANEL;
        for (k, &w) in row.iter().enumerate() {
            packed[panel + k / 4 * (4 * PANEL) + c % PANEL * 4 + k % 4] = w;
        }
    }
    packed
}
