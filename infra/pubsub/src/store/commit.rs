//! How a batch of changes is written.

use prost::Message as _;
use redb::ReadableTable;

use super::{Counters, HOLDS, MESSAGES, META, POLICIES, SNAPSHOTS, SUBSCRIPTIONS, Store, TOPICS, set_counters};
use crate::journal::{Changes, Hold};

impl Store {
    /// Writes a batch in one transaction: all of it or nothing.
    pub(super) fn commit(&self, counters: Counters, changes: &Changes) -> Result<(), redb::Error> {
        let write = self.database.begin_write()?;
        {
            set_counters(&mut write.open_table(META)?, counters)?;
            let mut topics = write.open_table(TOPICS)?;
            for (name, row) in &changes.topics {
                match row {
                    Some(row) => drop(topics.insert(name.as_str(), (row.uid, &*row.settings.encode_to_vec()))?),
                    None => drop(topics.remove(name.as_str())?),
                }
            }
            let mut subscriptions = write.open_table(SUBSCRIPTIONS)?;
            for (name, row) in &changes.subscriptions {
                match row {
                    Some(row) => {
                        let settings = row.settings.encode_to_vec();
                        subscriptions.insert(name.as_str(), (row.uid, row.eventarc, &*settings))?;
                    }
                    None => drop(subscriptions.remove(name.as_str())?),
                }
            }
            let mut snapshots = write.open_table(SNAPSHOTS)?;
            for (name, row) in &changes.snapshots {
                match row {
                    Some(row) => {
                        let settings = row.settings.encode_to_vec();
                        snapshots.insert(name.as_str(), (row.uid, row.last_number, &*settings))?;
                    }
                    None => drop(snapshots.remove(name.as_str())?),
                }
            }
            let mut policies = write.open_table(POLICIES)?;
            for (resource, policy) in &changes.policies {
                match policy {
                    Some(policy) => drop(policies.insert(resource.as_str(), &*policy.encode_to_vec())?),
                    None => drop(policies.remove(resource.as_str())?),
                }
            }
            let mut messages = write.open_table(MESSAGES)?;
            let mut holds = write.open_table(HOLDS)?;
            // Holds are sorted by message. One message at a time: write its holds, and then the message itself if it is
            // new, or remove it if nothing holds it any more. A message that came and went within the batch is not
            // written at all.
            let changed: Vec<(&(u64, u64), &Option<Hold>)> = changes.holds.iter().collect();
            for changed in changed.chunk_by(|((one, _), _), ((other, _), _)| one == other) {
                let Some(&(&(number, _), _)) = changed.first() else { continue };
                let new = changes.messages.get(&number);
                let held = changed.iter().any(|(_, hold)| hold.is_some());
                if new.is_some() && !held {
                    continue;
                }
                for &(&key, hold) in changed {
                    match hold {
                        Some(hold) => drop(holds.insert(key, encode(*hold))?),
                        None => drop(holds.remove(key)?),
                    }
                }
                if let Some(message) = new {
                    messages.insert(number, &*message.to_proto().encode_to_vec())?;
                } else if !held && holds.range((number, 0)..=(number, u64::MAX))?.next().is_none() {
                    messages.remove(number)?;
                }
            }
        }
        write.commit()?;
        Ok(())
    }
}

fn encode(hold: Hold) -> (u8, u32) {
    match hold {
        Hold::Unacked { failures } => (0, failures),
        Hold::Acked => (1, 0),
        Hold::Retained => (2, 0),
    }
}
