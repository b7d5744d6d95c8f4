//! What the archive has of the server's closed binlogs: by the catalog, and by what the store lists at this moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pitr_archive::ArchiveError;
use pitr_binlog::BinlogName;
use pitr_recovery::{BinlogId, Inventory, Problem, StoredObject, Timeline};
use tokio::time::Instant;

use super::Undone;
use super::purge::{ClosedBinlog, Reason, concerned};
use crate::archiver::Pipeline;
use crate::archiver::head::{Identified, identify};
use crate::archiver::ledger::Ledger;
use crate::archiver::pipeline::blocking;
use crate::discovery::{BinlogFile, IndexEntry};
use crate::mysql::ListedBinlog;

/// What the store has not listed within this time stays until it is asked again: the server is asked how it is in between.
const LISTED_WITHIN: Duration = Duration::from_secs(30);

/// Those of the closed binlogs beside us that count, and which of them the catalog has for good.
pub(super) async fn archived(
    pipeline: &Arc<Pipeline>,
    source: &str,
    closed: &[IndexEntry],
    listed: &[ListedBinlog],
) -> Result<Vec<ClosedBinlog>, Undone> {
    let names: Vec<BinlogName> = closed.iter().map(|entry| entry.name.clone()).collect();
    let entries = closed[..concerned(&names, listed)].to_vec();
    let (pipeline, source) = (Arc::clone(pipeline), source.to_owned());
    let look = move || {
        let known: Vec<Option<Identified>> = entries.iter().map(|entry| identified(entry, &source)).collect();
        let ledger = pipeline.ledger();
        let wrong = wrong(&ledger, known.iter().flatten());
        let looked = entries.iter().zip(known).map(|(entry, binlog)| {
            let name = entry.name.clone();
            let Some(Identified { id, stat, .. }) = binlog else {
                return ClosedBinlog { name, bytes: 0, closed_us: 0, archived: Err(Reason::NotArchived) };
            };
            let is_archived = !wrong.contains(&id) && ledger.is_whole(&id, stat.size, |_| true);
            ClosedBinlog {
                name,
                bytes: stat.size,
                closed_us: i64::try_from(stat.modified_ns / 1000).unwrap_or(i64::MAX),
                archived: if is_archived { Ok(id) } else { Err(Reason::NotArchived) },
            }
        });
        looked.collect()
    };
    blocking(look).await.map_err(|_| Undone::Stopped)
}

/// Which binlog a file is, if it can be read.
pub(super) fn identified(entry: &IndexEntry, source: &str) -> Option<Identified> {
    identify(&BinlogFile::open(&entry.path).ok()?, &entry.name, source).ok()
}

/// Those of which the archive has something else than the server wrote, or not all. What it has beyond the end of a file, which a crash took
/// from the server, is nothing that the file has.
fn wrong<'a>(ledger: &Ledger, of: impl Iterator<Item = &'a Identified>) -> BTreeSet<BinlogId> {
    let binlogs = of.filter_map(|binlog| ledger.binlog(&binlog.id)).cloned().collect();
    let timeline = Timeline::new(Inventory { binlogs, ..Inventory::default() });
    let of = |problem: &Problem| match problem {
        Problem::Divergence { binlog, .. } | Problem::Lost { binlog, .. } | Problem::Damaged { binlog, .. } => {
            Some(binlog.clone())
        }
        Problem::Ahead { .. } | Problem::Collision { .. } => None,
    };
    timeline.problems().iter().filter_map(of).collect()
}

/// The first of these binlogs that the store does not list whole, or not in time.
pub(super) async fn first_missing(pipeline: &Pipeline, going: &[ClosedBinlog]) -> Option<(usize, Reason)> {
    let until = Instant::now() + LISTED_WITHIN;
    let mut store = Store { pipeline, told: BTreeMap::new() };
    for (at, binlog) in going.iter().enumerate() {
        let reason = match &binlog.archived {
            Err(reason) => *reason,
            Ok(id) => match tokio::time::timeout_at(until, store.has(id, binlog.bytes)).await {
                Ok(Ok(true)) => continue,
                Ok(Ok(false)) => Reason::NotArchived,
                Ok(Err(_)) | Err(_) => Reason::NotListed,
            },
        };
        return Some((at, reason));
    }
    None
}

/// What the store lists at this moment.
struct Store<'a> {
    pipeline: &'a Pipeline,
    /// Binlogs that others are told by, and whether every catalogued byte of each stands: asked for once.
    told: BTreeMap<BinlogId, bool>,
}

impl Store<'_> {
    /// Whether every byte of a closed binlog of this length stands, and all that it is told by.
    async fn has(&mut self, id: &BinlogId, size: u64) -> Result<bool, ArchiveError> {
        if !self.stands(id, |ledger, stands| ledger.is_whole(id, size, stands)).await? {
            return Ok(false);
        }
        let mut open: Vec<BinlogId> = self.told_by(id);
        let mut seen = BTreeSet::new();
        while let Some(of) = open.pop() {
            if !seen.insert(of.clone()) {
                continue;
            }
            let stands = match self.told.get(&of) {
                Some(stands) => *stands,
                None => {
                    let stands = self.stands(&of, |ledger, stands| ledger.is_held(&of, stands)).await?;
                    *self.told.entry(of.clone()).or_insert(stands)
                }
            };
            if !stands {
                return Ok(false);
            }
            open.extend(self.told_by(&of));
        }
        Ok(true)
    }

    async fn stands(
        &self,
        id: &BinlogId,
        is_there: impl FnOnce(&Ledger, &dyn Fn(&StoredObject) -> bool) -> bool,
    ) -> Result<bool, ArchiveError> {
        let listed = self.pipeline.archive.stored_objects(id).await?;
        Ok(is_there(&self.pipeline.ledger(), &|object| listed.get(&object.key) == Some(&object.length)))
    }

    fn told_by(&self, id: &BinlogId) -> Vec<BinlogId> {
        self.pipeline.ledger().told_by(id).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use pitr_archive::testing::History;
    use pitr_archive::{Archive, Codec, Counting, MemoryStore, Place, SegmentRecord, Store as _};

    use super::*;

    #[tokio::test]
    async fn what_a_binlog_is_told_by_has_to_be_listed_too() {
        let memory = Arc::new(MemoryStore::new());
        let store = Counting::new(Arc::clone(&memory));
        let counts = store.counts();
        let archive = Archive::open(Arc::new(store), Arc::new(jiff::Timestamp::now));
        let pipeline = Pipeline::over(archive, counts);
        let add = async |server| -> (History, SegmentRecord) {
            let binlog = History::new(server, 1, 6);
            let draft = binlog.draft(Place::Binlogs, 0, binlog.length());
            let record = pipeline.archive.write_segment(draft, Codec::default()).await.unwrap();
            pipeline.ledger().add(&record, 0);
            (binlog, record)
        };
        let [(own, record), (middle, _), (first, first_record)] = [add(3).await, add(2).await, add(1).await];
        let told_by = |of: &[(&History, &History)]| {
            let pairs = of.iter().map(|(told, by)| (told.id.clone(), BTreeSet::from([by.id.clone()])));
            pipeline.ledger().tell(pairs.collect());
        };
        let (name, bytes) = (own.name.clone(), own.length());
        let closed = ClosedBinlog { name, bytes, closed_us: 0, archived: Ok(own.id.clone()) };
        let going = [closed.clone(), closed];
        told_by(&[(&own, &middle), (&middle, &first)]);
        assert_eq!(first_missing(&pipeline, &going).await, None);

        memory.delete(&[first_record.key.to_string()]).await.unwrap();
        assert_eq!(first_missing(&pipeline, &going).await, Some((0, Reason::NotArchived)));
        told_by(&[(&own, &middle)]);
        assert_eq!(first_missing(&pipeline, &going).await, None, "it does not need that one");
        memory.delete(&[record.key.to_string()]).await.unwrap();
        assert_eq!(first_missing(&pipeline, &going).await, Some((0, Reason::NotArchived)));
    }
}
