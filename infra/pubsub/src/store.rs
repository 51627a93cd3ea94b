//! The file that keeps the data after the process has ended: a redb database, `pubsub.redb`, in a directory of its own.
//!
//! Topics, subscriptions, snapshots, policies and messages are rows in Google's own protobuf form. A message is stored
//! once, with one row in `holds` for each topic, subscription or snapshot that holds it, and is removed with the last
//! of these.
//!
//! - `commit`: how a batch of changes is written; `writer`: the thread that writes them

mod commit;
pub(super) mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use googleapis_tonic_google_iam_v1::google::iam::v1 as iam;
use googleapis_tonic_google_pubsub_v1::google::pubsub::v1 as pb;
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, Table, TableDefinition};

use super::journal::{Changes, Hold, SnapshotRow, SubscriptionRow, TopicRow};

const FILE_NAME: &str = "pubsub.redb";
/// The version of the tables' contents.
const FORMAT_VERSION: u64 = 1;
/// Bytes of the file that the database keeps in memory. Little, since the state has everything in memory already.
const CACHE_BYTES: usize = 32 << 20;
/// Message numbers that are skipped at each start: more than a batch can have, so that the numbers of a batch that a
/// crash lost are not given out again.
const NUMBERS_SKIPPED: u64 = 1 << 32;

const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
const TOPICS: TableDefinition<'_, &str, (u64, &[u8])> = TableDefinition::new("topics");
const SUBSCRIPTIONS: TableDefinition<'_, &str, (u64, bool, &[u8])> = TableDefinition::new("subscriptions");
const SNAPSHOTS: TableDefinition<'_, &str, (u64, u64, &[u8])> = TableDefinition::new("snapshots");
const POLICIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("policies");
const MESSAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("messages");
const HOLDS: TableDefinition<'_, (u64, u64), (u8, u32)> = TableDefinition::new("holds");

/// The last message number and the last uid that were given out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counters {
    pub(super) number: u64,
    pub(super) uid: u64,
}

/// Everything in a store, as it is read at the start.
#[derive(Debug, Default)]
pub(super) struct Contents {
    pub(super) counters: Counters,
    /// How often the store was opened before.
    pub(super) opened: u64,
    pub(super) topics: Vec<TopicRow>,
    pub(super) subscriptions: Vec<SubscriptionRow>,
    pub(super) snapshots: Vec<SnapshotRow>,
    /// By the full name of their resource.
    pub(super) policies: Vec<(String, iam::Policy)>,
    /// By number, ascending.
    pub(super) messages: Vec<(u64, StoredMessage)>,
}

#[derive(Debug)]
pub(super) struct StoredMessage {
    pub(super) message: pb::PubsubMessage,
    /// What holds the message, by uid, and why.
    pub(super) holds: Vec<(u64, Hold)>,
}

/// An open store, locked against other processes.
#[derive(Debug)]
pub(super) struct Store {
    path: PathBuf,
    database: Database,
}

impl Store {
    /// Opens the store of a directory. Creates the directory and the store where they are missing.
    ///
    /// # Errors
    /// When another process uses it, when it is of another program or a newer version, or cannot be read or written.
    pub(super) fn open(directory: &Path) -> io::Result<(Self, Contents)> {
        std::fs::create_dir_all(directory).map_err(|error| {
            io::Error::new(error.kind(), format!("cannot make the data directory {}: {error}", directory.display()))
        })?;
        let path = directory.join(FILE_NAME);
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| open_error(&path, error))?;
        let store = Self { path, database };
        store.check_format()?;
        let contents = store.load().map_err(|error| store.damaged(error))?;
        Ok((store, contents))
    }

    /// Writes a batch. It is on disk when this returns.
    pub(super) fn write(&self, counters: Counters, changes: &Changes) -> Result<(), Box<redb::Error>> {
        self.commit(counters, changes).map_err(Box::new)
    }

    fn check_format(&self) -> io::Result<()> {
        let found = self.find_format().map_err(|error| self.damaged(ReadError::from(error)))?;
        let why = match found {
            FoundFormat::Empty | FoundFormat::Version(FORMAT_VERSION) => return Ok(()),
            FoundFormat::Foreign => "it is another program's".to_owned(),
            FoundFormat::Version(version) => {
                format!("its format is {version}, and this version reads format {FORMAT_VERSION} only")
            }
        };
        let path = self.path.display();
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} is not a store of this local Pub/Sub: {why}; give another data directory"),
        ))
    }

    fn find_format(&self) -> Result<FoundFormat, redb::Error> {
        let read = self.database.begin_read()?;
        let mut names = read.list_tables()?.peekable();
        if names.peek().is_none() && read.list_multimap_tables()?.next().is_none() {
            return Ok(FoundFormat::Empty);
        }
        if !names.any(|table| redb::TableHandle::name(&table) == redb::TableHandle::name(&META)) {
            return Ok(FoundFormat::Foreign);
        }
        let meta = match read.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableTypeMismatch { .. }) => return Ok(FoundFormat::Foreign),
            Err(error) => return Err(error.into()),
        };
        Ok(meta.get("format")?.map_or(FoundFormat::Foreign, |format| FoundFormat::Version(format.value())))
    }

    /// Creates the tables that are missing, counts the opening, and reads everything.
    fn load(&self) -> Result<Contents, ReadError> {
        let write = self.database.begin_write()?;
        let contents;
        {
            let mut meta = write.open_table(META)?;
            let value = |name: &str| -> Result<Option<u64>, StorageError> { Ok(meta.get(name)?.map(|v| v.value())) };
            let opened = value("opened")?.unwrap_or_default();
            let mut counters =
                Counters { number: value("number")?.unwrap_or_default(), uid: value("uid")?.unwrap_or_default() };
            if opened > 0 {
                counters.number = counters.number.saturating_add(NUMBERS_SKIPPED);
            }
            meta.insert("format", FORMAT_VERSION)?;
            meta.insert("opened", opened + 1)?;
            set_counters(&mut meta, counters)?;
            let mut read = Contents { counters, opened, ..Contents::default() };
            for row in write.open_table(TOPICS)?.iter()? {
                let (_, row) = row?;
                let (uid, settings) = row.value();
                read.topics.push(TopicRow { uid, settings: parse(settings)? });
            }
            for row in write.open_table(SUBSCRIPTIONS)?.iter()? {
                let (_, row) = row?;
                let (uid, eventarc, settings) = row.value();
                let settings = Arc::new(parse(settings)?);
                read.subscriptions.push(SubscriptionRow { uid, eventarc, settings });
            }
            for row in write.open_table(SNAPSHOTS)?.iter()? {
                let (_, row) = row?;
                let (uid, last_number, settings) = row.value();
                read.snapshots.push(SnapshotRow { uid, last_number, settings: parse(settings)? });
            }
            for row in write.open_table(POLICIES)?.iter()? {
                let (resource, policy) = row?;
                read.policies.push((resource.value().to_owned(), parse(policy.value())?));
            }
            let holds = write.open_table(HOLDS)?;
            for row in write.open_table(MESSAGES)?.iter()? {
                let (number, message) = row?;
                let number = number.value();
                let message = parse(Bytes::copy_from_slice(message.value()))?;
                let mut stored = StoredMessage { message, holds: Vec::new() };
                for row in holds.range((number, 0)..=(number, u64::MAX))? {
                    let (key, hold) = row?;
                    stored.holds.push((key.value().1, decode(hold.value())?));
                }
                read.messages.push((number, stored));
            }
            contents = read;
        }
        write.commit()?;
        Ok(contents)
    }

    fn damaged(&self, error: ReadError) -> io::Error {
        let why = match error {
            ReadError::Database(error) => error.to_string(),
            ReadError::Row(what) => what,
        };
        let path = self.path.display();
        io::Error::other(format!("cannot read {path}: {why}; move it away to begin with an empty one"))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// Whose tables a file holds.
enum FoundFormat {
    Empty,
    /// Another program's.
    Foreign,
    Version(u64),
}

/// Why a store cannot be read.
enum ReadError {
    Database(Box<redb::Error>),
    Row(String),
}

impl<E: Into<redb::Error>> From<E> for ReadError {
    fn from(error: E) -> Self {
        Self::Database(Box::new(error.into()))
    }
}

fn parse<M: prost::Message + Default>(row: impl bytes::Buf) -> Result<M, ReadError> {
    M::decode(row).map_err(|error| ReadError::Row(format!("a row cannot be decoded, {error}")))
}

fn set_counters(meta: &mut Table<'_, &str, u64>, counters: Counters) -> Result<(), StorageError> {
    meta.insert("number", counters.number)?;
    meta.insert("uid", counters.uid)?;
    Ok(())
}

fn decode(hold: (u8, u32)) -> Result<Hold, ReadError> {
    match hold {
        (0, failures) => Ok(Hold::Unacked { failures }),
        (1, _) => Ok(Hold::Acked),
        (2, _) => Ok(Hold::Retained),
        (kind, _) => Err(ReadError::Row(format!("a row of the unknown kind {kind}"))),
    }
}

fn open_error(path: &Path, error: DatabaseError) -> io::Error {
    let path = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => io::Error::new(
            io::ErrorKind::ResourceBusy,
            format!("{path} is in use by another process; end that one, or give another data directory"),
        ),
        DatabaseError::UpgradeRequired(format) => io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "{path} is a database of format {format}, which this version does not read; give another data directory"
            ),
        ),
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() != io::ErrorKind::InvalidData => {
            io::Error::new(error.kind(), format!("cannot open {path}: {error}"))
        }
        error => io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{path} is not a store of this local Pub/Sub, or damaged: {error}; give another data directory"),
        ),
    }
}
