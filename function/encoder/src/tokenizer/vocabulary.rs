//! The tokens, and splitting a word into the longest of them.

use std::borrow::Cow;

use super::TokenizerError;
use super::word::MAX_WORD_CHARACTERS;

/// Bytes of the longest word that is looked up.
pub(super) const MAX_WORD_BYTES: usize = MAX_WORD_CHARACTERS * 4;

/// Room for the hash of every prefix of a word.
pub(super) type Hashes = [u64; MAX_WORD_BYTES];

const MAX_VOCABULARY_BYTES: usize = 1 << 24;
const CONTINUING: &[u8] = b"##";

/// Tokens by id and by text. The text stays as it came, one token a line: nothing is allocated a token, so that a start
/// takes well under a millisecond.
#[derive(Debug)]
pub(super) struct Vocabulary {
    text: Cow<'static, str>,
    /// Where each token starts in `text`, and where one more would.
    starts: Vec<u32>,
    /// Open addressing, at most half full. 0 is free; else the low bits are an id plus one, the others those of the
    /// hash.
    slots: Vec<u32>,
    id_mask: u32,
    index_shift: u32,
    /// Bytes of the longest token that starts a word, and of the longest that continues one.
    longest: [usize; 2],
}

/// The two kinds of tokens have hashes of their own, which saves putting `##` in front of every candidate.
#[derive(Clone, Copy)]
enum PiecePosition {
    Start = 0,
    Continuing = 1,
}

impl PiecePosition {
    fn seed(self) -> u64 {
        match self {
            Self::Start => 0,
            Self::Continuing => 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn of(token: &[u8]) -> (Self, &[u8]) {
        match token.strip_prefix(CONTINUING) {
            Some(rest) if !rest.is_empty() && rest[0] != b'\n' => (Self::Continuing, rest),
            _ => (Self::Start, token),
        }
    }
}

/// One step of the hash that rustc uses: quick, and it yields the hash of every prefix of a text in passing.
fn step(hash: u64, byte: u8) -> u64 {
    (hash.rotate_left(5) ^ u64::from(byte)).wrapping_mul(0x517c_c1b7_2722_0a95)
}

impl Vocabulary {
    pub(super) fn new(bytes: Cow<'static, [u8]>) -> Result<Self, TokenizerError> {
        if bytes.len() > MAX_VOCABULARY_BYTES {
            return Err(TokenizerError::TooLarge { size: bytes.len(), most: MAX_VOCABULARY_BYTES });
        }
        let not_utf8 = |error: std::str::Utf8Error| TokenizerError::NotUtf8 { at: error.valid_up_to() };
        let text = match bytes {
            Cow::Borrowed(bytes) => Cow::Borrowed(std::str::from_utf8(bytes).map_err(not_utf8)?),
            Cow::Owned(bytes) => Cow::Owned(String::from_utf8(bytes).map_err(|error| not_utf8(error.utf8_error()))?),
        };
        let bytes = text.as_bytes();
        // All but the last line end in a line feed, and that one may.
        let ended = bytes.iter().filter(|&&byte| byte == b'\n').count();
        let count = ended + usize::from(!text.ends_with('\n'));
        let size = (count * 2).next_power_of_two();
        let mut vocabulary = Self {
            starts: Vec::with_capacity(count + 1),
            slots: vec![0; size],
            id_mask: u32::MAX >> (count as u32).leading_zeros(),
            index_shift: u64::BITS - size.trailing_zeros(),
            longest: [0; 2],
            text,
        };
        vocabulary.starts.push(0);
        for id in 0..count as u32 {
            vocabulary.insert(id)?;
        }
        Ok(vocabulary)
    }

    /// Adds the token with this id, which starts where the one before it ended.
    fn insert(&mut self, id: u32) -> Result<(), TokenizerError> {
        let start = self.starts[id as usize] as usize;
        let rest = &self.text.as_bytes()[start..];
        let (position, text) = PiecePosition::of(rest);
        // Finding the end and the hash in one loop: this is most of a start's time.
        let mut hash = position.seed();
        let mut len = 0;
        for &byte in text.iter().take_while(|&&byte| byte != b'\n') {
            hash = step(hash, byte);
            len += 1;
        }
        let end = start + rest.len() - text.len() + len;
        self.starts.push(end as u32 + 1);
        if len == 0 {
            return Err(TokenizerError::EmptyToken { id });
        }
        match self.find(position, &text[..len], hash) {
            Ok(first) => {
                let token = String::from_utf8_lossy(self.bytes(id)).into_owned();
                Err(TokenizerError::DuplicateToken { token, first, second: id })
            }
            Err(free) => {
                self.slots[free] = (hash as u32 & !self.id_mask) | (id + 1);
                let longest = &mut self.longest[position as usize];
                *longest = len.max(*longest);
                Ok(())
            }
        }
    }

    /// The id of a token, or the free slot where it would be.
    fn find(&self, position: PiecePosition, text: &[u8], hash: u64) -> Result<u32, usize> {
        let mut at = (hash >> self.index_shift) as usize;
        loop {
            let slot = self.slots[at];
            if slot == 0 {
                return Err(at);
            }
            if (slot ^ hash as u32) & !self.id_mask == 0 {
                let id = (slot & self.id_mask) - 1;
                let token = self.bytes(id);
                let same = match position {
                    PiecePosition::Start => token == text,
                    PiecePosition::Continuing => token.strip_prefix(CONTINUING) == Some(text),
                };
                if same {
                    return Ok(id);
                }
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
    }

    fn bytes(&self, id: u32) -> &[u8] {
        let (start, next) = (self.starts[id as usize], self.starts[id as usize + 1]);
        &self.text.as_bytes()[start as usize..next as usize - 1]
    }

    pub(super) fn id(&self, token: &str) -> Option<u32> {
        let (position, text) = PiecePosition::of(token.as_bytes());
        let hash = text.iter().fold(position.seed(), |hash, &byte| step(hash, byte));
        self.find(position, text, hash).ok()
    }

    pub(super) fn tokens(&self) -> impl ExactSizeIterator<Item = &str> {
        self.starts.windows(2).map(|ends| {
            let token = ends[0] as usize..ends[1] as usize - 1;
            self.text.get(token).unwrap_or_default()
        })
    }

    /// Appends the ids of the longest tokens that make up `word`, from its start on. Returns false, with some ids
    /// appended, if it cannot be made up.
    pub(super) fn split(&self, word: &[u8], hashes: &mut Hashes, out: &mut Vec<u32>) -> bool {
        let mut position = PiecePosition::Start;
        let mut rest = word;
        while !rest.is_empty() {
            let longest = rest.len().min(self.longest[position as usize]);
            let mut hash = position.seed();
            for (prefix, &byte) in hashes.iter_mut().zip(&rest[..longest]) {
                hash = step(hash, byte);
                *prefix = hash;
            }
            let found = (1..=longest.min(hashes.len()))
                .rev()
                .find_map(|len| Some((self.find(position, &rest[..len], hashes[len - 1]).ok()?, len)));
            let Some((id, len)) = found else { return false };
            out.push(id);
            rest = &rest[len..];
            position = PiecePosition::Continuing;
        }
        true
    }
}
