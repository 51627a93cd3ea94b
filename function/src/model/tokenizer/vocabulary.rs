//! Pieces to ids: a hash table over the vocabulary's own bytes.

/// Tokens, found by their text. Pieces that continue a word (`##ing`) are kept without their prefix, apart from those that
/// begin one.
#[derive(Debug)]
pub(super) struct Vocabulary {
    bytes: &'static [u8],
    /// Where each token ends; it begins behind the line feed of the one before.
    ends: Vec<u32>,
    /// Open addressing, a power of two in length. The upper half of an entry is a tag of the hash, the lower the id plus one.
    table: Vec<u64>,
    /// Bytes of the longest token.
    longest: usize,
}

/// Seeds of the hash: words begin with one, continuations with the other.
const FIRST: u64 = 0xcbf2_9ce4_8422_2325;
const NEXT: u64 = 0x9e37_79b9_7f4a_7c15;

/// One step of a multiplicative hash over bytes; each prefix of a word has its hash on the way.
#[inline]
fn step(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// Spreads a hash over slot and tag.
#[inline]
fn finish(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    hash ^ (hash >> 32)
}

impl Vocabulary {
    pub(super) fn new(bytes: &'static [u8]) -> Result<Self, String> {
        if std::str::from_utf8(bytes).is_err() {
            return Err("it is not UTF-8".to_owned());
        }
        let mut ends = Vec::with_capacity(bytes.len() / 6);
        ends.extend(
            bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at as u32),
        );
        if bytes.len() > u32::MAX as usize || bytes.last().is_some_and(|byte| *byte != b'\n') {
            return Err("it does not end in a line feed".to_owned());
        }
        let size = (ends.len() * 2).next_power_of_two().max(2);
        let mut vocabulary = Self { bytes, ends, table: vec![0; size], longest: 0 };
        for id in 0..vocabulary.ends.len() as u32 {
            let (seed, text) = split(vocabulary.text(id));
            let longest = vocabulary.longest.max(text.len());
            let hash = finish(text.iter().fold(seed, |hash, &byte| step(hash, byte)));
            if vocabulary.find(hash, seed, text).is_some() {
                return Err(format!("token {id} is there twice"));
            }
            let mut slot = hash as usize & (size - 1);
            while vocabulary.table[slot] != 0 {
                slot = (slot + 1) & (size - 1);
            }
            vocabulary.table[slot] = (hash & !0xffff_ffff) | u64::from(id + 1);
            vocabulary.longest = longest;
        }
        Ok(vocabulary)
    }

    fn text(&self, id: u32) -> &'static [u8] {
        let id = id as usize;
        let start = if id == 0 { 0 } else { self.ends[id - 1] as usize + 1 };
        &self.bytes[start..self.ends[id] as usize]
    }

    #[inline]
    fn find(&self, hash: u64, seed: u64, text: &[u8]) -> Option<u32> {
        let mut slot = hash as usize & (self.table.len() - 1);
        loop {
            let entry = self.table[slot];
            if entry == 0 {
                return None;
            }
            if entry >> 32 == hash >> 32 {
                let id = entry as u32 - 1;
                if split(self.text(id)) == (seed, text) {
                    return Some(id);
                }
            }
            slot = (slot + 1) & (self.table.len() - 1);
        }
    }

    /// The id of a whole token, prefix included.
    pub(super) fn token(&self, token: &[u8]) -> Option<u32> {
        let (seed, text) = split(token);
        self.find(finish(text.iter().fold(seed, |hash, &byte| step(hash, byte))), seed, text)
    }

    pub(super) fn tokens(&self) -> impl Iterator<Item = &str> {
        (0..self.ends.len() as u32).map(|id| std::str::from_utf8(self.text(id)).unwrap_or_default())
    }

    /// Appends the longest pieces of a word, one after the other, at most `most`. False if what is left has no piece, in which
    /// case some may have been appended.
    pub(super) fn pieces(&self, word: &[u8], most: usize, out: &mut Vec<u32>) -> bool {
        let mut seed = FIRST;
        let mut rest = word;
        let mut count = 0;
        let mut hashes = [0; 512];
        while !rest.is_empty() {
            let longest = rest.len().min(self.longest).min(hashes.len());
            let mut hash = seed;
            for (place, &byte) in hashes.iter_mut().zip(&rest[..longest]) {
                hash = step(hash, byte);
                *place = hash;
            }
            // A prefix that ends within a character is no token, since tokens are UTF-8.
            let found = (1..=longest)
                .rev()
                .find_map(|length| Some((length, self.find(finish(hashes[length - 1]), seed, &rest[..length])?)));
            let Some((length, id)) = found else { return false };
            // Beyond `most` only whether the word can be cut matters.
            if count < most {
                out.push(id);
                count += 1;
            }
            rest = &rest[length..];
            seed = NEXT;
        }
        true
    }
}

/// The seed and the text of a token without its prefix. A token that is only the prefix, or punctuation that looks like it,
/// begins a word.
fn split(token: &[u8]) -> (u64, &[u8]) {
    match token.strip_prefix(b"##") {
        Some(text) if !text.is_empty() => (NEXT, text),
        _ => (FIRST, token),
    }
}
