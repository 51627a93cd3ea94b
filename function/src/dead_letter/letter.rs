//! What gives way where a message holds more than a dead letter can: a pure function of the message.
//!
//! Every piece of the message (an attribute, or the ordering key) is in one of three states: kept as it is, moved into
//! [`ORIGINAL`](super::labels::ORIGINAL), or dropped. [`Letter::new`] keeps all that Pub/Sub takes. While the letter
//! still has too many attributes, it moves the shortest ones, of which many fit into one part of `ORIGINAL`, and after
//! that drops the pieces that free the most for the least loss. The invariant: what is kept, the parts of `ORIGINAL`,
//! and the notes about both fit into 100 attributes.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::labels::{DATA_GENERATION, DATA_SHA256, DATA_URI, LEFT_OUT, LOST, Labels};
use super::original::{Document, Original, is_part, part_name};
use super::store::Stored;
use crate::digest::sha256_hex;
use crate::sink::attributes::{KEPT_LONGEST, clean, list};
use infra::limits::{MAX_ATTRIBUTES, MAX_DATA, MAX_ORDERING_KEY, MAX_VALUE, is_attribute, is_reserved};

/// The least that one part of [`ORIGINAL`](super::labels::ORIGINAL) holds, in bytes: parts end at a character.
const MIN_PART_BYTES: usize = MAX_VALUE - 3;

/// How a letter is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Form {
    /// All of the message's own attributes and the ordering key are moved.
    plain: bool,
    /// Data and attributes together are within the bound of data.
    strict: bool,
}

/// In the order in which they are tried. The first two lose nothing.
pub(super) const FORMS: [Form; 4] = [
    Form { plain: false, strict: false },
    Form { plain: true, strict: false },
    Form { plain: false, strict: true },
    Form { plain: true, strict: true },
];

/// Where the data of the message is.
pub(super) enum Data {
    /// In the letter.
    Whole,
    /// In an object.
    Stored(Stored),
    /// In the letter as far as it fits; the rest is lost.
    Cut {
        /// Of the whole data, in bytes.
        length: usize,
        sha256: String,
    },
}

impl Data {
    pub(super) fn cut(data: &Bytes) -> Self {
        Self::Cut { length: data.len(), sha256: sha256_hex(data) }
    }
}

/// A dead letter, but for its data.
#[derive(Debug)]
pub(super) struct Letter {
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) ordering_key: String,
    strict: bool,
    stored: bool,
}

/// A piece of the message that can be kept, moved, or dropped.
#[derive(Clone, Debug)]
struct Piece<'a> {
    kind: Kind,
    name: &'a str,
    value: &'a str,
    /// Bytes of it in the JSON of [`ORIGINAL`](super::labels::ORIGINAL).
    cost: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Attribute,
    /// Without it the work could not be done, or not be found.
    Important,
    Reserved,
    OrderingKey,
}

impl Letter {
    pub(super) fn new(original: &Original, labels: &Labels<'_>, form: Form, data: &Data) -> Self {
        let mut attributes: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), clean(value))).collect();
        let stored = matches!(data, Data::Stored(_));
        let mut lost: Vec<String> = Vec::new();
        let mut left_out: Vec<&str> = Vec::new();
        match data {
            Data::Whole => attributes.extend(original.data.iter().map(|(name, value)| (name.clone(), clean(value)))),
            Data::Stored(object) => {
                let labels =
                    [(DATA_URI, &object.uri), (DATA_GENERATION, &object.generation), (DATA_SHA256, &object.sha256)];
                attributes.extend(labels.map(|(name, value)| (name.to_owned(), value.clone())));
                left_out.push("data");
            }
            Data::Cut { length, sha256 } => {
                lost.push(format!("the end of {length} bytes of data, whose SHA-256 is {sha256}"));
                left_out.push("data");
            }
        }

        let notes = Notes { left_out: !left_out.is_empty(), lost: !lost.is_empty() || original.lost.is_some() };
        let mut pieces = Pieces::sort(original, form.plain);
        pieces.fit(MAX_ATTRIBUTES - attributes.len(), notes);

        left_out.extend(pieces.moved.iter().chain(&pieces.dropped).map(|piece| piece.name));
        lost.extend(pieces.dropped.iter().filter(|piece| piece.is_loss()).map(|piece| list([piece.name])));
        // Last, so that a long note of an earlier letter does not cut off what is lost now.
        lost.extend(original.lost.clone());
        if !left_out.is_empty() {
            attributes.insert(LEFT_OUT.to_owned(), list(left_out));
        }
        if !lost.is_empty() {
            attributes.insert(LOST.to_owned(), clean(&lost.join("; ")));
        }
        attributes.extend((1..).map(part_name).zip(pieces.parts()));
        let mut ordering_key = String::new();
        for piece in pieces.kept {
            match piece.kind {
                Kind::OrderingKey => piece.value.clone_into(&mut ordering_key),
                _ => drop(attributes.insert(piece.name.to_owned(), piece.value.to_owned())),
            }
        }
        Self { attributes, ordering_key, strict: form.strict, stored }
    }

    /// Whether the two are the same message for Pub/Sub, where they have the same data.
    pub(super) fn is_sent_as(&self, other: &Self) -> bool {
        self.attributes == other.attributes && self.ordering_key == other.ordering_key
    }

    /// How much data it can have.
    pub(super) fn data_room(&self) -> usize {
        let attributes: usize = self.attributes.iter().map(|(name, value)| name.len() + value.len()).sum();
        // Without `strict` the bound of a whole request, 10 MiB, is enough for the most data and the most attributes.
        if self.strict { MAX_DATA - attributes - self.ordering_key.len() } else { MAX_DATA }
    }

    /// The letter's data, where this is the message's. Text is cut at a character.
    pub(super) fn data(&self, data: &Bytes) -> Bytes {
        if self.stored {
            return Bytes::new();
        }
        let most = data.len().min(self.data_room());
        let cut = match std::str::from_utf8(&data[..most]) {
            Err(error) if error.error_len().is_none() && most < data.len() => error.valid_up_to(),
            _ => most,
        };
        data.slice(..cut)
    }
}

/// Whether the letter has these notes whatever the state of the pieces.
#[derive(Clone, Copy, Debug)]
struct Notes {
    left_out: bool,
    lost: bool,
}

/// The pieces of a message by their state.
#[derive(Debug, Default)]
struct Pieces<'a> {
    kept: Vec<Piece<'a>>,
    /// In [`ORIGINAL`](super::labels::ORIGINAL).
    moved: Vec<Piece<'a>>,
    dropped: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    /// Keeps everything that Pub/Sub takes as it is; with `plain`, nothing.
    fn sort(original: &'a Original, plain: bool) -> Self {
        let mut pieces = Self::default();
        for (name, value) in &original.attributes {
            let kind = match name.as_str() {
                name if is_reserved(name) => Kind::Reserved,
                name if KEPT_LONGEST.contains(&name) => Kind::Important,
                _ => Kind::Attribute,
            };
            let stays = is_attribute(name, value) && !is_part(name) && !plain;
            pieces.add(Piece { kind, name, value, cost: json_len(name) + json_len(value) + 2 }, stays);
        }
        let key = original.ordering_key.as_str();
        if !key.is_empty() {
            let cost = json_len(key) + r#","orderingKey":"#.len();
            pieces.add(
                Piece { kind: Kind::OrderingKey, name: "orderingKey", value: key, cost },
                key.len() <= MAX_ORDERING_KEY && !plain,
            );
        }
        pieces
    }

    fn add(&mut self, piece: Piece<'a>, stays: bool) {
        if stays { self.kept.push(piece) } else { self.moved.push(piece) }
    }

    /// Moves, and where that is not enough drops, until everything fits into `slots` attributes.
    fn fit(&mut self, slots: usize, notes: Notes) {
        if self.slots(notes) > slots {
            self.move_shortest(slots, notes);
        }
        while self.slots(notes) > slots && self.drop_one() {}
    }

    /// How many attributes the pieces take in their present state.
    fn slots(&self, notes: Notes) -> usize {
        let left_out = notes.left_out || !self.moved.is_empty() || !self.dropped.is_empty();
        let lost = notes.lost || self.dropped.iter().any(Piece::is_loss);
        let kept = self.kept.iter().filter(|piece| piece.kind != Kind::OrderingKey).count();
        usize::from(left_out) + usize::from(lost) + kept + Self::parts_of(self.cost())
    }

    /// How many parts of [`ORIGINAL`](super::labels::ORIGINAL) pieces need that cost so much.
    fn parts_of(cost: usize) -> usize {
        const FRAME_BYTES: usize = r#"{"attributes":{}}"#.len();
        if cost == 0 { 0 } else { (FRAME_BYTES + cost).div_ceil(MIN_PART_BYTES) }
    }

    /// Moves attributes, the shortest first: many of them fit into one part. Stops at the fewest slots that this can
    /// reach.
    fn move_shortest(&mut self, slots: usize, notes: Notes) {
        // Moving long ones frees nothing.
        let mut best = (self.slots(notes), 0);
        let (mut free, kept): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(|piece| piece.kind == Kind::Attribute);
        free.sort_by_key(|piece| (piece.cost, piece.name));
        self.kept = kept;
        // Once some are moved, the note about them is there, and it comes once.
        let others = self.slots(Notes { left_out: true, ..notes }) - Self::parts_of(self.cost());
        let mut cost = self.cost();
        for (count, piece) in free.iter().enumerate() {
            cost += piece.cost;
            let taken = others + free.len() - (count + 1) + Self::parts_of(cost);
            if taken < best.0 {
                best = (taken, count + 1);
            }
            if taken <= slots {
                break;
            }
        }
        let stay = free.split_off(best.1);
        self.moved.append(&mut free);
        self.kept.extend(stay);
    }

    fn cost(&self) -> usize {
        self.moved.iter().map(|piece| piece.cost).sum()
    }

    /// Drops what frees the most for the least loss; false if nothing is left.
    fn drop_one(&mut self) -> bool {
        let longest = |pieces: &[Piece<'a>], may: &dyn Fn(&Piece<'a>) -> bool| {
            let found = pieces.iter().enumerate().filter(|(_, piece)| may(piece));
            found.max_by_key(|(_, piece)| piece.cost).map(|(index, _)| index)
        };
        let moved = longest(&self.moved, &|piece| piece.kind == Kind::Reserved)
            .or_else(|| longest(&self.moved, &|piece| piece.cost >= MIN_PART_BYTES && piece.kind != Kind::Important));
        if let Some(index) = moved {
            self.dropped.push(self.moved.swap_remove(index));
            return true;
        }
        if let Some(index) = longest(&self.kept, &|piece| piece.kind == Kind::Attribute) {
            self.dropped.push(self.kept.swap_remove(index));
            return true;
        }
        let moved = longest(&self.moved, &|piece| piece.kind != Kind::Important).or(longest(&self.moved, &|_| true));
        if let Some(index) = moved {
            self.dropped.push(self.moved.swap_remove(index));
            return true;
        }
        let kept = longest(&self.kept, &|piece| piece.kind != Kind::OrderingKey);
        self.dropped.extend(kept.map(|index| self.kept.swap_remove(index)));
        kept.is_some()
    }

    /// The values of [`ORIGINAL`](super::labels::ORIGINAL) and of the parts that continue it.
    fn parts(&self) -> Vec<String> {
        if self.moved.is_empty() {
            return Vec::new();
        }
        let mut document = Document::default();
        for piece in &self.moved {
            match piece.kind {
                Kind::OrderingKey => document.ordering_key = Some(Cow::Borrowed(piece.value)),
                _ => drop(document.attributes.insert(Cow::Borrowed(piece.name), Cow::Borrowed(piece.value))),
            }
        }
        let text = serde_json::to_string(&document).unwrap_or_default(); // strings alone do not fail
        let mut rest = text.as_str();
        let mut parts = Vec::new();
        while !rest.is_empty() {
            let (part, more) = rest.split_at(rest.floor_char_boundary(MAX_VALUE));
            parts.push(part.to_owned());
            rest = more;
        }
        parts
    }
}

impl Piece<'_> {
    fn is_loss(&self) -> bool {
        self.kind != Kind::Reserved
    }
}

fn json_len(text: &str) -> usize {
    serde_json::to_string(text).map_or(0, |json| json.len())
}
