//! What gives way where a message is more than a dead letter can be: a pure function of the message.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;

use super::original::{Document, is_part, part_name};
use super::store::Stored;
use super::{DATA_GENERATION, DATA_SHA256, DATA_URI, LEFT_OUT, LOST, Labels, Original};
use crate::digest::sha256_hex;
use crate::sink::attributes::{KEPT_LONGEST, clean, list};
use infra::limits::{MAX_ATTRIBUTES, MAX_DATA, MAX_ORDERING_KEY, MAX_VALUE, is_attribute, is_reserved};

/// How much one part of [`super::ORIGINAL`] holds at least: parts end at a character.
const PART: usize = MAX_VALUE - 3;

/// How a letter is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Form {
    /// None of the message's own attributes stays in its place, and no ordering key.
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

/// What becomes of the data.
pub(super) enum Data {
    Whole,
    /// An object holds it.
    Stored(Stored),
    /// As much as there is room for stays.
    Cut {
        /// Of all of it.
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

/// A piece of the message that can be in its place, left out, or lost.
#[derive(Clone, Debug)]
struct Piece<'a> {
    kind: Kind,
    name: &'a str,
    value: &'a str,
    /// Bytes of it in the JSON of [`super::ORIGINAL`].
    cost: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Attribute,
    /// Its work is not done without it, or not found.
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

        left_out.extend(pieces.aside.iter().chain(&pieces.dropped).map(|piece| piece.name));
        lost.extend(pieces.dropped.iter().filter(|piece| piece.is_loss()).map(|piece| list([piece.name])));
        // Last: what is lost now must not be cut off behind it.
        lost.extend(original.lost.clone());
        if !left_out.is_empty() {
            attributes.insert(LEFT_OUT.to_owned(), list(left_out));
        }
        if !lost.is_empty() {
            attributes.insert(LOST.to_owned(), clean(&lost.join("; ")));
        }
        attributes.extend((1..).map(part_name).zip(pieces.parts()));
        let mut ordering_key = String::new();
        for piece in pieces.place {
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
        // Without `strict` the bound of a whole request, 10 MiB, has room for the most data and the most attributes.
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

/// Whether the letter has these notes whatever becomes of the pieces.
#[derive(Clone, Copy, Debug)]
struct Notes {
    left_out: bool,
    lost: bool,
}

/// The pieces of a message by what becomes of them.
#[derive(Debug, Default)]
struct Pieces<'a> {
    place: Vec<Piece<'a>>,
    aside: Vec<Piece<'a>>,
    dropped: Vec<Piece<'a>>,
}

impl<'a> Pieces<'a> {
    /// Everything that a letter can have in its place, in its place.
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
        if stays { self.place.push(piece) } else { self.aside.push(piece) }
    }

    /// Leaves out, and where that is not enough drops, until everything is in `slots` attributes.
    fn fit(&mut self, slots: usize, notes: Notes) {
        if self.slots(notes) > slots {
            self.leave_out(slots, notes);
        }
        while self.slots(notes) > slots && self.drop_one() {}
    }

    /// How many attributes it takes as it is.
    fn slots(&self, notes: Notes) -> usize {
        let left_out = notes.left_out || !self.aside.is_empty() || !self.dropped.is_empty();
        let lost = notes.lost || self.dropped.iter().any(Piece::is_loss);
        let place = self.place.iter().filter(|piece| piece.kind != Kind::OrderingKey).count();
        usize::from(left_out) + usize::from(lost) + place + Self::parts_of(self.cost())
    }

    /// How many parts of [`super::ORIGINAL`] pieces need that cost so much.
    fn parts_of(cost: usize) -> usize {
        const FRAME: usize = r#"{"attributes":{}}"#.len();
        if cost == 0 { 0 } else { (FRAME + cost).div_ceil(PART) }
    }

    /// Leaves out attributes, the shortest first: many of them go into one. Stops at the fewest slots that can be had
    /// so.
    fn leave_out(&mut self, slots: usize, notes: Notes) {
        // Leaving out long ones frees nothing.
        let mut best = (self.slots(notes), 0);
        let (mut free, place): (Vec<_>, Vec<_>) = self.place.drain(..).partition(|piece| piece.kind == Kind::Attribute);
        free.sort_by_key(|piece| (piece.cost, piece.name));
        self.place = place;
        // With some left out, both notes and parts are there already or come once.
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
        self.aside.append(&mut free);
        self.place.extend(stay);
    }

    fn cost(&self) -> usize {
        self.aside.iter().map(|piece| piece.cost).sum()
    }

    /// Drops what frees the most for the least loss; false if nothing is left.
    fn drop_one(&mut self) -> bool {
        let longest = |pieces: &[Piece<'a>], may: &dyn Fn(&Piece<'a>) -> bool| {
            let found = pieces.iter().enumerate().filter(|(_, piece)| may(piece));
            found.max_by_key(|(_, piece)| piece.cost).map(|(index, _)| index)
        };
        let aside = longest(&self.aside, &|piece| piece.kind == Kind::Reserved)
            .or_else(|| longest(&self.aside, &|piece| piece.cost >= PART && piece.kind != Kind::Important));
        if let Some(index) = aside {
            self.dropped.push(self.aside.swap_remove(index));
            return true;
        }
        if let Some(index) = longest(&self.place, &|piece| piece.kind == Kind::Attribute) {
            self.dropped.push(self.place.swap_remove(index));
            return true;
        }
        let aside = longest(&self.aside, &|piece| piece.kind != Kind::Important).or(longest(&self.aside, &|_| true));
        if let Some(index) = aside {
            self.dropped.push(self.aside.swap_remove(index));
            return true;
        }
        let place = longest(&self.place, &|piece| piece.kind != Kind::OrderingKey);
        self.dropped.extend(place.map(|index| self.place.swap_remove(index)));
        place.is_some()
    }

    /// The values of [`super::ORIGINAL`] and those that go on from it.
    fn parts(&self) -> Vec<String> {
        if self.aside.is_empty() {
            return Vec::new();
        }
        let mut document = Document::default();
        for piece in &self.aside {
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
