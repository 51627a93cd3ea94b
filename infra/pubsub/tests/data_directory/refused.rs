//! Directories that cannot be used.

use std::io::ErrorKind;

use crate::process::{directory, open};

#[test]
fn a_directory_that_cannot_be_used_is_refused_with_the_reason() {
    let directory = directory("refused");
    let refused = |kind: ErrorKind, why: &str| {
        let error = open(&directory).unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(why) && error.to_string().contains("pubsub.redb"), "{error}");
    };
    let pubsub = open(&directory).unwrap();
    refused(ErrorKind::ResourceBusy, "in use by another process");
    drop(pubsub);
    drop(open(&directory).unwrap());

    let file = directory.join("pubsub.redb");
    let meta = redb::TableDefinition::<&str, u64>::new("meta");
    let database = redb::Database::open(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(meta).unwrap().insert("format", 2).unwrap();
    write.commit().unwrap();
    drop(database);
    refused(ErrorKind::InvalidData, "its format is 2");

    std::fs::remove_file(&file).unwrap();
    let database = redb::Database::create(&file).unwrap();
    let write = database.begin_write().unwrap();
    write.open_table(redb::TableDefinition::<u64, u64>::new("other")).unwrap();
    write.commit().unwrap();
    drop(database);
    refused(ErrorKind::InvalidData, "another program");

    std::fs::write(&file, "a text").unwrap();
    refused(ErrorKind::InvalidData, "not a store");

    std::fs::remove_dir_all(&directory).unwrap();
    std::fs::write(&directory, "a file").unwrap();
    let error = open(&directory).unwrap_err().to_string();
    assert!(error.contains("cannot make the data directory"), "{error}");
    std::fs::remove_file(&directory).unwrap();
}
