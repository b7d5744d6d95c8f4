use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use pitr_binlog::{Gtid, GtidSet};

use super::{Batcher, Windows};
use crate::cutter::{Cut, Known, Uncuttable};
use crate::failure::TORN;
use crate::head::FileHead;
use crate::log::{LogPiece, LogReader, ReadError};
use crate::splitter::{Broken, Splitter};

/// The GTIDs that batches hide: those of all their transactions but the first. While there is one, the executed set
/// does not say what the server has.
///
/// Bounded by what the replica holds: a batch leaves when its GTIDs are executed, and a replica with a bounded relay log
/// takes no more before that.
#[derive(Debug, Clone, Default)]
pub struct Holes(Arc<Mutex<BTreeMap<Gtid, GtidSet>>>);

impl Holes {
    /// A batch is about to be sent, or the replica has it.
    pub(super) fn open(&self, first: Gtid, others: GtidSet) {
        self.batches().insert(first, others);
    }

    /// What a server that has executed this set has applied without saying so. Batches that it shows in full are
    /// forgotten.
    #[must_use]
    pub fn due(&self, executed: &GtidSet) -> GtidSet {
        let mut due = GtidSet::new();
        self.batches().retain(|first, others| {
            if !executed.contains(first) {
                return true;
            }
            let missing = others.subtract(executed);
            due.union_with(&missing);
            !missing.is_empty()
        });
        due
    }

    /// The other transactions of the batch that begins with this one.
    #[must_use]
    pub fn batch_of(&self, first: &Gtid) -> Option<GtidSet> {
        self.batches().get(first).cloned()
    }

    fn batches(&self) -> MutexGuard<'_, BTreeMap<Gtid, GtidSet>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads the log that an earlier source sent in batches, and says what a server that has executed this set has applied
/// without saying so. Reads no further than the last transaction that is executed.
///
/// # Errors
/// The log can't be read, or a batch is executed in part, which no server can have done by itself.
pub async fn left_open(
    reader: &mut dyn LogReader,
    windows: &Windows,
    skip: &GtidSet,
    executed: &GtidSet,
) -> Result<GtidSet, ReadError> {
    let holes = Holes::default();
    let known = Known { skip: skip.clone(), executed: executed.clone() };
    let mut pass = Pass {
        batcher: Batcher::new(windows.clone(), known, holes.clone()),
        splitter: Splitter::default(),
        unsent: VecDeque::new(),
    };
    let mut to_find = None;
    while to_find.is_none_or(|to_find| pass.batcher.found() < to_find) {
        match reader.next().await? {
            Some(LogPiece::File { head, start, .. }) => {
                let head = FileHead::parse(&head)?;
                // What the reader left out at the beginning is all in the first file's previous set.
                to_find.get_or_insert_with(|| executed.subtract(&windows.start).subtract(&head.previous()).count());
                pass.end_file()?;
                pass.splitter.restart(start)?;
                pass.batcher.restart(head.format.checksum);
            }
            Some(LogPiece::Bytes { bytes, .. }) => pass.read(bytes)?,
            None => {
                pass.end_file()?;
                break;
            }
        }
    }
    // Batches that are cut out of what was read, up to the last one that is executed.
    Ok(holes.due(executed))
}

/// Reads what a source would send, and sends nothing.
struct Pass {
    batcher: Batcher,
    splitter: Splitter,
    unsent: VecDeque<Cut>,
}

impl Pass {
    fn read(&mut self, bytes: Bytes) -> Result<(), ReadError> {
        self.splitter.feed(bytes);
        while let Some(part) = self.splitter.next()? {
            self.batcher.cut(part, &mut self.unsent)?;
            self.unsent.clear();
        }
        Ok(())
    }

    fn end_file(&mut self) -> Result<(), ReadError> {
        self.splitter.check_whole()?;
        self.batcher.end_file(&mut self.unsent)?;
        self.unsent.clear();
        Ok(())
    }
}

impl From<Broken> for ReadError {
    fn from(broken: Broken) -> Self {
        Self::new(format!("the log is damaged at {}: {}", broken.offset, broken.reason))
    }
}

impl From<Uncuttable> for ReadError {
    fn from(uncuttable: Uncuttable) -> Self {
        Self::new(match uncuttable {
            Uncuttable::Malformed(reason) => format!("the log is damaged: {reason}"),
            Uncuttable::Anonymous => "a transaction has no GTID".to_owned(),
            Uncuttable::Torn => TORN.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> GtidSet {
        text.replace('u', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap()
    }

    #[test]
    fn only_batches_whose_first_is_executed_are_due_and_they_are_until_they_are_filled() {
        let holes = Holes::default();
        let gtid = |text: &str| text.replace('u', "3e11fa47-71ca-11e1-9e33-c80aa9429562").parse().unwrap();
        holes.open(gtid("u:1"), set("u:2-5"));
        holes.open(gtid("u:6"), set("u:7"));
        holes.open(gtid("u:8"), set("u:9-10"));
        assert_eq!(holes.due(&set("")), set(""));
        assert_eq!(holes.due(&set("u:1:6")), set("u:2-5:7"));
        assert_eq!(holes.due(&set("u:1-3:6")), set("u:4-5:7"));
        assert_eq!(holes.due(&set("u:1-7")), set(""));
        assert_eq!(holes.batch_of(&gtid("u:6")), None);
        assert_eq!(holes.batch_of(&gtid("u:8")), Some(set("u:9-10")));
    }
}
