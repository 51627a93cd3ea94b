//! `cargo xtask dlq`: dead letters, listed, shown, published again.
//!
//! - `dead_letter`: a dead letter, and the message that it was
//! - `subscription`: which subscription holds dead letters; `reader`: reads them, and keeps them leased meanwhile
//! - `redrive`: publishes them to the topics that they came from

mod dead_letter;
mod reader;
mod redrive;
mod subscription;

use std::io::Write;

use anyhow::{Result, bail};
use serde_json::json;

use crate::flags::{Dlq, DlqVerb, List, Show};
use crate::pubsub_client::PubSubClient;
use dead_letter::{DeadLetter, printable};
use reader::Reader;
use subscription::subscription;

pub(crate) fn run(arguments: &Dlq) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match &arguments.verb {
        DlqVerb::List(arguments) => runtime.block_on(list(arguments)),
        DlqVerb::Show(arguments) => runtime.block_on(show(arguments)),
        DlqVerb::Redrive(arguments) => runtime.block_on(redrive::run(arguments)),
    }
}

async fn list(arguments: &List) -> Result<()> {
    let pubsub = PubSubClient::find(&arguments.source.target)?;
    let subscription = subscription(&arguments.source, &pubsub)?;
    let mut reader = Reader::open(&pubsub, &subscription, arguments.source.wait)?;
    let mut rows = Vec::new();
    let mut documents = Vec::new();
    let read = loop {
        if rows.len().max(documents.len()) as u64 >= arguments.limit || reader.is_full() {
            break Ok(());
        }
        match reader.next().await {
            Ok(Some(letter)) => {
                if arguments.filter.as_ref().is_none_or(|filter| letter.passes(filter)) {
                    if arguments.json { documents.push(letter.json(false)) } else { rows.push(row(&letter)) }
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(error),
        }
    };
    let closed = reader.close().await;
    read.and(closed)?;
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", json!({"subscription": subscription, "messages": documents}))?;
        return Ok(());
    }
    if rows.is_empty() {
        writeln!(out, "no dead letters in {subscription}")?;
        return Ok(());
    }
    rows.insert(0, ["ID", "TIME", "SOURCE", "REASON", "ATTEMPTS", "DETAIL"].map(str::to_owned));
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in &rows {
        let cells: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn row(letter: &DeadLetter) -> [String; 6] {
    let source = letter.source().map(|source| source.short().to_owned());
    let attempts = letter.attempts().map(|attempts| attempts.to_string());
    [
        printable(&letter.id),
        printable(letter.time()),
        printable(&source.unwrap_or_default()),
        printable(letter.reason()),
        attempts.unwrap_or_default(),
        printable(letter.detail()),
    ]
}

async fn show(arguments: &Show) -> Result<()> {
    let pubsub = PubSubClient::find(&arguments.source.target)?;
    let subscription = subscription(&arguments.source, &pubsub)?;
    let mut reader = Reader::open(&pubsub, &subscription, arguments.source.wait)?;
    let mut looked_at = 0;
    let found = loop {
        if reader.is_full() {
            break Ok(None);
        }
        match reader.next().await {
            Ok(Some(letter)) if letter.is(&arguments.id) => break Ok(Some(letter)),
            Ok(Some(_)) => looked_at += 1,
            Ok(None) => break Ok(None),
            Err(error) => break Err(error),
        }
    };
    let closed = reader.close().await;
    let found = found?;
    closed?;
    let Some(letter) = found else {
        bail!(
            "no message {} among the {looked_at} that {subscription} delivered\n  help: `cargo xtask dlq list` shows their \
             ids; one that another reader holds is not delivered",
            arguments.id
        );
    };
    let mut out = std::io::stdout().lock();
    if arguments.json {
        writeln!(out, "{}", letter.json(true))?;
        return Ok(());
    }
    writeln!(out, "id            {}", printable(&letter.id))?;
    writeln!(out, "published     {}", printable(&letter.published))?;
    if !letter.ordering_key.is_empty() {
        writeln!(out, "ordering key  {}", printable(&letter.ordering_key))?;
    }
    for (name, value) in &letter.attributes {
        writeln!(out, "{} = {}", printable(name), printable(value))?;
    }
    for (name, value) in &letter.left_out() {
        writeln!(out, "{} = {} (left out)", printable(name), printable(value))?;
    }
    match std::str::from_utf8(&letter.data) {
        Ok(text) => writeln!(out, "\n{}", text.lines().map(printable).collect::<Vec<_>>().join("\n"))?,
        Err(_) => writeln!(out, "\n{} bytes that are no text; --json has them in base64", letter.data.len())?,
    }
    Ok(())
}
