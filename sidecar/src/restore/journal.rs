//! What a restore has done so far, on the volume itself, so that the next run goes on where this one was killed.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::event_states::EventStates;
use super::extract::DumpReport;
use super::in_place::InPlace;
use super::replay::Batching;
use super::rows::{Counts, RowsReport};
use super::verdict::EventReport;
use super::xa::XaReport;
use crate::mysql::LocalAccount;

/// Version of the file's form.
const SCHEMA_VERSION: u32 = 1;

/// The phases, in order. A phase is journaled when it is done, and each may be run again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Phase {
    /// The base backup's files are on the volume, checked.
    FetchBase,
    /// The method's own step: a dump is loaded, an identity removed.
    Prepare,
    /// The server has run on the base, which is what its manifest says.
    StartServer,
    /// The log is applied up to the stop.
    Replay,
    /// The executed set equals the plan's, and assertions hold.
    Verify,
    /// The tables that were asked for are written down.
    DumpTables,
    /// Events have their states, nothing of ours is left in the data, the server is shut down.
    StopServer,
    /// In place: the old data is aside, and the restored data where it was.
    SafetyCopy,
    /// The volume is the user's.
    HandOver,
}

impl Phase {
    /// As in progress lines and verdicts.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FetchBase => "fetch-base",
            Self::Prepare => "prepare",
            Self::StartServer => "start-server",
            Self::Replay => "replay",
            Self::Verify => "verify",
            Self::DumpTables => "dump-tables",
            Self::StopServer => "stop-server",
            Self::SafetyCopy => "safety-copy",
            Self::HandOver => "hand-over",
        }
    }
}

/// The journal's content.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Journal {
    schema_version: u32,
    /// What the volume is being restored to: the plan file's hash, or the target as it was typed.
    pub(crate) purpose: Purpose,
    /// Hash of the plan, once there is one.
    pub(crate) plan_hash: Option<String>,
    /// The last phase that is done.
    pub(crate) done: Option<Phase>,
    /// When the first run began.
    pub(crate) begun_at: Timestamp,
    /// The restoring server's id; drawn at random, outside the ids of the log.
    pub(crate) server_id: u32,
    /// Our account on it; dropped at the end.
    pub(crate) account: String,
    /// States of events before replay.
    pub(crate) events_of_base: Option<EventStates>,
    /// Replay began on a server that has not been shut down in order since: while it runs, and after it was killed.
    #[serde(default)]
    pub(crate) replica_ran: bool,
    /// Transactions are put together so, from the first batch that was sent on this volume.
    #[serde(default)]
    pub(crate) batching: Option<Batching>,
    /// Seconds that replay took, over all runs.
    pub(crate) replay_seconds: u64,
    /// Events as they were handed over.
    pub(crate) events: Vec<EventReport>,
    /// Statements of the log had temporary tables open on the restoring server: a server that is started again has them no more.
    #[serde(default)]
    pub(crate) temporary_tables: bool,
    /// XA transactions that were prepared before replay, as hashes of their identifiers; none in a journal of an earlier version.
    #[serde(default)]
    pub(crate) xa_of_base: Option<Vec<u64>>,
    /// XA transactions that the stop left prepared.
    #[serde(default)]
    pub(crate) xa: Vec<XaReport>,
    /// Assertions that were true.
    #[serde(default)]
    pub(crate) asserted: Vec<String>,
    /// Whether each table was checked and sound.
    #[serde(default)]
    pub(crate) tables_checked: bool,
    /// Rows of the base's tables, if they are to be accounted for.
    #[serde(default)]
    pub(crate) rows_of_base: Option<Counts>,
    /// What their accounting found.
    #[serde(default)]
    pub(crate) rows: Option<RowsReport>,
    /// Tables that were asked for, as they were typed.
    #[serde(default)]
    pub(crate) tables: Vec<String>,
    /// Tables that were written down.
    #[serde(default)]
    pub(crate) dump: Option<DumpReport>,
    /// The server that ran on the data.
    pub(crate) server_version: String,
    /// Where old and restored data are, on a volume that has a workload's data.
    #[serde(default)]
    pub(crate) in_place: Option<InPlace>,
}

/// What a volume is being restored to. A second run with another purpose is refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Purpose {
    /// A plan made elsewhere, by hash.
    Plan(String),
    /// A target, as it was typed, and the base it begins with.
    Target(String),
}

impl Journal {
    /// A journal of a restore that has done nothing yet.
    pub(crate) fn begin(purpose: Purpose, begun_at: Timestamp) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            purpose,
            plan_hash: None,
            done: None,
            begun_at,
            server_id: random_server_id(),
            account: LocalAccount::random().name,
            events_of_base: None,
            replica_ran: false,
            batching: None,
            replay_seconds: 0,
            events: Vec::new(),
            temporary_tables: false,
            xa_of_base: None,
            xa: Vec::new(),
            asserted: Vec::new(),
            tables_checked: false,
            rows_of_base: None,
            rows: None,
            tables: Vec::new(),
            dump: None,
            server_version: String::new(),
            in_place: None,
        }
    }

    /// Reads a journal, if there is one.
    pub(crate) fn read(path: &Path) -> io::Result<Option<Self>> {
        let text = match fs::read(path) {
            Ok(text) => text,
            Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(reason) => return Err(reason),
        };
        let journal: Self = serde_json::from_slice(&text).map_err(io::Error::other)?;
        if journal.schema_version != SCHEMA_VERSION {
            return Err(io::Error::other(format!("it is of version {}, not {SCHEMA_VERSION}", journal.schema_version)));
        }
        Ok(Some(journal))
    }

    /// Whether a phase is done.
    pub(crate) fn has_done(&self, phase: Phase) -> bool {
        self.done.is_some_and(|done| done >= phase)
    }

    /// Writes the journal so that a crash leaves the old one or the new one.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        write_durably(path, &self.text()?)
    }

    /// The file's bytes.
    pub(crate) fn text(&self) -> io::Result<Vec<u8>> {
        serde_json::to_vec_pretty(self).map_err(io::Error::other)
    }
}

/// An id far from those that people give; the source refuses to send a log that has it all the same.
pub(crate) fn random_server_id() -> u32 {
    rand::random::<u32>() | 0x8000_0000
}

/// Writes a small file: under another name, to the disk, then renamed, then the directory to the disk.
pub(crate) fn write_durably(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().ok_or_else(|| io::Error::other("a file without a directory"))?;
    let part = path.with_extension("part");
    let mut file = File::create(&part)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&part, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::{Journal, Phase, Purpose};

    #[test]
    fn what_is_written_is_read_back_and_phases_are_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        assert!(Journal::read(&path).unwrap().is_none());
        let mut journal = Journal::begin(Purpose::Plan("sha256:00".into()), Timestamp::UNIX_EPOCH);
        journal.done = Some(Phase::StartServer);
        journal.write(&path).unwrap();
        let read = Journal::read(&path).unwrap().unwrap();
        assert_eq!((read.purpose, read.server_id), (Purpose::Plan("sha256:00".into()), journal.server_id));
        assert!(
            journal.has_done(Phase::Prepare)
                && journal.has_done(Phase::StartServer)
                && !journal.has_done(Phase::Replay)
        );
    }

    #[test]
    fn another_version_or_half_a_file_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.json");
        std::fs::write(&path, "{\"schemaVersion\": 1").unwrap();
        assert!(Journal::read(&path).is_err());
    }
}
