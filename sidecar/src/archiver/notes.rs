//! What is known of each closed file of the index, as long as the file does not change.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use pitr_recovery::BinlogId;
use tokio::time::Instant;

use super::head::{HeadError, Identified, identify};
use super::ledger::Ledger;
use super::pause::Pause;
use super::pipeline::{WorkError, blocking};
use crate::discovery::{self, BinlogFile, IndexEntry, Stat};
use crate::status::BacklogFacts;

/// Files that are looked into before anything else gets a turn.
const LOOKS_AT_ONCE: usize = 256;

/// What is known of one file.
#[derive(Debug)]
pub(super) struct Note {
    /// The file as it was then.
    pub(super) stat: Stat,
    /// What is to be done.
    pub(super) state: NoteState,
}

/// What is to be done with a file.
#[derive(Debug)]
pub(super) enum NoteState {
    /// Nothing is left to do.
    Done,
    /// It cannot be archived, and trying again would not help.
    Refused,
    /// To be done.
    Due {
        /// Which binlog it is.
        id: BinlogId,
        /// No transaction in it is older.
        began_us: Option<i64>,
        /// When it is tried next.
        pause: Pause,
    },
    /// It could not even be read.
    Unread {
        /// When it is tried next.
        pause: Pause,
    },
}

/// A file that is new or has changed.
pub(super) type Looked = (IndexEntry, Result<(Stat, Result<Identified, HeadError>), WorkError>);

/// All notes, by path.
#[derive(Debug, Default)]
pub(super) struct Notes(HashMap<PathBuf, Note>);

impl Notes {
    /// Files that left the index; gives those that were not archived.
    pub(super) fn forget_missing(&mut self, closed: &[IndexEntry]) -> Vec<PathBuf> {
        let listed: HashSet<&Path> = closed.iter().map(|entry| entry.path.as_path()).collect();
        let is_open = |note: &Note| matches!(note.state, NoteState::Due { .. } | NoteState::Unread { .. });
        let gone: Vec<PathBuf> = self.0.keys().filter(|path| !listed.contains(path.as_path())).cloned().collect();
        let lost = gone.iter().filter(|path| self.0.get(*path).is_some_and(is_open)).cloned().collect();
        for path in gone {
            self.0.remove(&path);
        }
        lost
    }

    /// Looks at all files and into those that are new, have changed, or could not be read before and are due again.
    pub(super) async fn look(&self, closed: &[IndexEntry], source: &str) -> Result<Vec<Looked>, WorkError> {
        let now = Instant::now();
        let mut found = Vec::new();
        for entries in closed.chunks(LOOKS_AT_ONCE) {
            let known = |entry: &IndexEntry| match self.0.get(&entry.path) {
                Some(Note { state: NoteState::Unread { pause }, .. }) => pause.left(now).is_zero().then_some(None),
                Some(note) => Some(Some(note.stat)),
                None => Some(None),
            };
            let asked: Vec<_> = entries.iter().filter_map(|entry| Some((entry.clone(), known(entry)?))).collect();
            let source = source.to_owned();
            let looked = blocking(move || {
                asked.into_iter().filter_map(|(entry, known)| look_at(entry, known, &source)).collect::<Vec<_>>()
            });
            found.extend(looked.await?);
        }
        Ok(found)
    }

    /// Remembers what was found out about a file.
    pub(super) fn insert(&mut self, entry: &IndexEntry, note: Note) {
        self.0.insert(entry.path.clone(), note);
    }

    /// Everything is to be looked at anew.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// Nothing is left to do.
    pub(super) fn done(&mut self, entry: &IndexEntry) {
        if let Some(note) = self.0.get_mut(&entry.path) {
            note.state = NoteState::Done;
        }
    }

    /// What is due now: by failures, then in the server's order.
    pub(super) fn due(&self, closed: &[IndexEntry]) -> Vec<IndexEntry> {
        let now = Instant::now();
        let failures = |entry: &IndexEntry| match &self.0.get(&entry.path)?.state {
            NoteState::Due { pause, .. } if pause.left(now).is_zero() => Some(pause.failures()),
            NoteState::Due { .. } | NoteState::Unread { .. } | NoteState::Done | NoteState::Refused => None,
        };
        let mut due: Vec<(u32, &IndexEntry)> =
            closed.iter().filter_map(|entry| Some((failures(entry)?, entry))).collect();
        due.sort_by_key(|(failures, _)| *failures);
        due.into_iter().map(|(_, entry)| entry.clone()).collect()
    }

    /// Puts a file off.
    pub(super) fn postpone(&mut self, entry: &IndexEntry) {
        match self.0.get_mut(&entry.path).map(|note| &mut note.state) {
            Some(NoteState::Due { pause, .. } | NoteState::Unread { pause }) => pause.fail(),
            Some(NoteState::Done | NoteState::Refused) => {}
            None => {
                let mut pause = Pause::none();
                pause.fail();
                let stat = Stat { inode: (0, 0), size: 0, modified_ns: 0 };
                self.0.insert(entry.path.clone(), Note { stat, state: NoteState::Unread { pause } });
            }
        }
    }

    /// How long until each of those that are not archived is tried next.
    pub(super) fn pauses(&self) -> Vec<Duration> {
        let now = Instant::now();
        let pauses = self.0.values().filter_map(|note| match &note.state {
            NoteState::Due { pause, .. } | NoteState::Unread { pause } => Some(pause.left(now)),
            NoteState::Done | NoteState::Refused => None,
        });
        pauses.collect()
    }

    /// How much is not archived.
    pub(super) fn backlog(&self, closed: &[IndexEntry], ledger: &Ledger) -> BacklogFacts {
        let mut backlog = BacklogFacts::default();
        for note in closed.iter().filter_map(|entry| self.0.get(&entry.path)) {
            let (bytes, since_us) = match &note.state {
                NoteState::Done => continue,
                NoteState::Refused | NoteState::Unread { .. } => (note.stat.size, None),
                NoteState::Due { id, began_us, .. } => {
                    let progress = ledger.progress(id);
                    (note.stat.size.saturating_sub(progress.shipped_to), progress.last_commit_us.or(*began_us))
                }
            };
            let closed_us = i64::try_from(note.stat.modified_ns / 1000).ok();
            backlog.closed_us = backlog.closed_us.into_iter().chain(closed_us).min();
            backlog.binlogs += 1;
            backlog.bytes += bytes;
            backlog.since_us = backlog.since_us.or(since_us.filter(|_| bytes > 0));
        }
        backlog
    }
}

/// Which binlog a file is, unless it is known and has not changed.
fn look_at(entry: IndexEntry, known: Option<Stat>, source: &str) -> Option<Looked> {
    let stat = match discovery::stat(&entry.path) {
        Ok(stat) if known == Some(stat) => return None,
        Ok(stat) => stat,
        Err(reason) => return Some((entry, Err(WorkError::Open(reason)))),
    };
    let looked = match BinlogFile::open(&entry.path) {
        Ok(file) => match identify(&file, &entry.name, source) {
            Err(HeadError::Read(reason)) => Err(WorkError::Open(reason)),
            Ok(binlog) => Ok((binlog.stat, Ok(binlog))),
            Err(error) => Ok((stat, Err(error))),
        },
        Err(reason) => Err(WorkError::Open(reason)),
    };
    Some((entry, looked))
}
