//! The status of an archive for people and programs, from what any reader can see in the bucket, plus what a running sidecar adds.

use std::fmt;

use pitr_archive::document::{BackupsDocument, Heartbeat, VerifyState, WindowsDocument};
use pitr_archive::{InventoryReport, Proofs};
use pitr_recovery::{Inventory, Problem, Timeline, code};
use serde::{Deserialize, Serialize};

use super::findings;
use crate::amounts::{binary_size, count_of, duration};

/// `kind: Status`: windows, gaps and base backups of one archive.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct StatusDocument {
    api_version: String,
    kind: String,
    schema_version: u32,
    /// What the archive belongs to.
    workload: String,
    /// Its address.
    archive: String,
    /// Flavour and version of the server that wrote the newest binlog.
    server: Option<String>,
    /// The newest binlog and how far it is archived.
    newest: Option<Newest>,
    windows: WindowsDocument,
    backups: BackupsDocument,
    /// What verification and restore drills have proven.
    #[serde(default)]
    verify: VerifyState,
    /// What needs a human.
    problems: Vec<String>,
    /// The same and everything else that is wrong, as codes.
    codes: Vec<String>,
    /// `ok` or `degraded`.
    state: String,
    /// What `dedupe: gtid` has made smaller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    repeats: Option<Repeats>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Repeats {
    segments: u64,
    saved_bytes: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Newest {
    binlog: String,
    archived_bytes: u64,
    closed: bool,
    binlogs: u64,
}

impl StatusDocument {
    /// The status of an archive.
    pub(crate) fn new(timeline: &Timeline, proofs: &Proofs, archive: String) -> Self {
        let inventory = timeline.inventory();
        let mut codes = findings::of_archive(timeline);
        codes.extend(proofs.drills.failed.as_ref().map(|_| &code::DRILL_FAILED));
        codes.extend((proofs.damaged > 0).then_some(&code::CHECKSUM_MISMATCH));
        codes.sort_unstable_by_key(|code| code.number);
        codes.dedup_by_key(|code| code.number);
        let is_degraded = codes.iter().any(|code| code.exit != 0);
        Self {
            api_version: pitr_archive::document::API_VERSION.to_owned(),
            kind: "Status".to_owned(),
            schema_version: pitr_archive::document::SCHEMA_VERSION,
            workload: inventory.workload.clone(),
            archive,
            server: newest(inventory).map(|binlog| format!("{} {}", product(binlog.flavour), binlog.server_version)),
            newest: newest(inventory).map(|binlog| Newest {
                binlog: binlog.name.as_str().to_owned(),
                archived_bytes: binlog.ranges.iter().map(|range| range.end).max().unwrap_or(0),
                closed: binlog.closed != pitr_recovery::Closed::Open,
                binlogs: inventory.binlogs.len() as u64,
            }),
            windows: timeline.into(),
            backups: timeline.into(),
            verify: proofs.document(),
            problems: timeline.problems().iter().map(problem).collect(),
            codes: codes.iter().map(ToString::to_string).collect(),
            state: if is_degraded { "degraded" } else { "ok" }.to_owned(),
            repeats: None,
        }
    }

    /// The same with what `dedupe: gtid` has made smaller.
    pub(crate) fn with_repeats(self, report: &InventoryReport) -> Self {
        let repeats = Repeats { segments: report.repeats, saved_bytes: report.repeats_saved_bytes };
        Self { repeats: (repeats.segments > 0).then_some(repeats), ..self }
    }
}

fn product(flavour: pitr_binlog::Flavour) -> &'static str {
    match flavour {
        pitr_binlog::Flavour::MySql => "MySQL",
        pitr_binlog::Flavour::MariaDb => "MariaDB",
    }
}

/// The binlog that ends in the latest commit.
fn newest(inventory: &Inventory) -> Option<&pitr_recovery::ArchivedBinlog> {
    let last = |binlog: &pitr_recovery::ArchivedBinlog| {
        binlog.ranges.iter().filter_map(|range| range.last.as_ref().map(|last| last.commit_us)).max()
    };
    inventory.binlogs.iter().max_by_key(|binlog| (last(binlog), binlog.id.number)).map(AsRef::as_ref)
}

fn problem(problem: &Problem) -> String {
    match problem {
        Problem::Collision { streams, gtids } => {
            format!("{} and {} have the same GTIDs for different transactions: {gtids}", streams.0, streams.1)
        }
        Problem::Divergence { binlog, offset } => {
            format!("{binlog} was archived with two contents, from byte {offset} on")
        }
        Problem::Ahead { binlog, offset, gtids } => {
            format!("{binlog}: the server lost {gtids} in a crash, from byte {offset} on; they are kept as a branch")
        }
        Problem::Lost { binlog, start, end } => {
            format!("bytes {start} to {end} of {binlog} are lost in the archive: damaged or gone")
        }
        Problem::Damaged { binlog, offset, reason } => format!("{binlog} is damaged at byte {offset}: {reason}"),
    }
}

/// A status as text.
#[derive(Debug)]
pub(crate) struct Report<'a> {
    /// What the archive says.
    pub(crate) status: &'a StatusDocument,
    /// What a running sidecar says.
    pub(crate) heartbeat: Option<&'a Heartbeat>,
    /// Now.
    pub(crate) now_us: i64,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status;
        let state = match self.heartbeat {
            Some(heartbeat) => heartbeat.state.to_uppercase(),
            None if status.windows.items.is_empty() => "NOTHING RECOVERABLE".to_owned(),
            None => status.state.to_uppercase(),
        };
        let server = status.server.as_deref().unwrap_or("no server yet");
        writeln!(f, "{}   {server}   {}   {state}", status.workload, status.archive)?;
        self.windows(f)?;
        for gap in &status.windows.gaps {
            let end = match &gap.closed_by {
                Some(backup) => format!("closed by {backup}"),
                None => "only a new base backup makes what follows reachable [PITR0502]".to_owned(),
            };
            let after = gap.from.map_or_else(String::new, |from| format!(" after {from}"));
            writeln!(
                f,
                "Gap          {}{after}: {}, {}; {end}",
                gap.id,
                gap.text,
                count_of(gap.transactions, "transaction")
            )?;
        }
        self.archived(f)?;
        if let Some(Repeats { segments, saved_bytes }) = &status.repeats {
            let (segments, saved) = (count_of(*segments, "segment"), binary_size(*saved_bytes));
            writeln!(f, "Repeats      {segments} stored as what differs from another server's log; {saved} saved")?;
        }
        self.backups(f)?;
        self.verified(f)?;
        for problem in &status.problems {
            writeln!(f, "Problem      {problem}")?;
        }
        if !status.codes.is_empty() {
            writeln!(f, "Findings     {}", status.codes.join(", "))?;
        }
        if let Some(window) = status.windows.items.iter().rfind(|window| window.live) {
            write!(
                f,
                "Restore      pitr-sidecar restore --archive {} --to {} --datadir DIR",
                status.archive, window.to
            )?;
        }
        Ok(())
    }
}

impl Report<'_> {
    fn windows(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = "Recoverable";
        for window in self.status.windows.items.iter().rev() {
            let end = match (&window.ends_at, window.ends.as_str()) {
                (Some(gap), _) => format!("ends at {gap}"),
                (None, "lastArchived") => format!("the end is {} old", self.age(window.to.0)),
                (None, _) => "commit times step back".to_owned(),
            };
            let branch = if window.live { String::new() } else { format!("; branch {}", window.branch) };
            let length = duration(seconds(window.to.0 - window.from.0));
            writeln!(f, "{key:<11}  {} .. {}   {length}; {end}{branch}", window.from, window.to)?;
            key = "";
        }
        if self.status.windows.items.is_empty() {
            let (why, code) = match (self.status.backups.items.is_empty(), self.status.newest.is_none()) {
                (true, true) => ("no binlog and no base backup reached the archive", "PITR0503"),
                (true, false) => ("there is no base backup: take one with pitr-sidecar backup", "PITR0504"),
                (false, _) => ("no archived binlog continues a base backup", "PITR0803"),
            };
            writeln!(f, "Recoverable  nothing: {why} [{code}]")?;
        }
        Ok(())
    }

    fn archived(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(newest) = &self.status.newest else { return Ok(()) };
        let state = if newest.closed { "closed" } else { "active" };
        let count = count_of(newest.binlogs, "binlog");
        write!(
            f,
            "Archived     {count}, the newest {} ({state}) to position {}",
            newest.binlog, newest.archived_bytes
        )?;
        if let Some(heartbeat) = self.heartbeat {
            if let Some(active) = &heartbeat.active {
                write!(f, " of {}", active.position_bytes)?;
            }
            if let Some(lag) = heartbeat.lag_seconds {
                write!(f, "; lag {lag:.1}s")?;
            }
            if let Some(bytes) = heartbeat.unarchived_bytes {
                write!(f, ", {} unarchived", binary_size(bytes))?;
            }
            let waits = heartbeat.unarchived_binlogs.is_some_and(|binlogs| binlogs > 0);
            if let Some(until) = heartbeat.seconds_until_purge.filter(|_| waits) {
                write!(f, ", the oldest of it purged in {}", duration(until as u64))?;
            }
            if !heartbeat.codes.is_empty() {
                write!(f, " [{}]", heartbeat.codes.join(", "))?;
            }
        }
        writeln!(f)
    }

    fn backups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backups = &self.status.backups.items;
        let usable = backups.iter().filter(|backup| backup.usable).count();
        let Some(newest) = backups.first() else { return writeln!(f, "Base         none") };
        let state = if newest.usable { "" } else { ", unusable" };
        writeln!(
            f,
            "Base         {usable} usable; newest {}, {}, {}, {} ago{state}",
            newest.id,
            newest.method,
            binary_size(newest.raw_bytes),
            self.age(newest.consistent_at.0)
        )
    }

    fn verified(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verify = &self.status.verify;
        let damage = verify.damaged_objects.map_or_else(String::new, |n| format!(": {n} objects DAMAGED [PITR0606]"));
        let checksums = verify.checksums_at.as_ref().map(|at| format!("checksums {} ago{damage}", self.age(at.0)));
        let drill = verify.drill_at.as_ref().map(|at| {
            let took = verify.drill_seconds.map_or_else(String::new, |s| format!(" in {}", duration(s as u64)));
            format!("restore drill passed {} ago{took}", self.age(at.0))
        });
        let failed = verify.drill_failed_at.as_ref().map(|at| {
            let code = verify.drill_failed_code.as_deref().unwrap_or("-");
            format!("restore drill FAILED {} ago with {code} [PITR0514]", self.age(at.0))
        });
        let parts: Vec<_> = checksums.into_iter().chain(drill).chain(failed).collect();
        if parts.is_empty() { Ok(()) } else { writeln!(f, "Verified     {}", parts.join("; ")) }
    }

    fn age(&self, us: i64) -> String {
        duration(seconds(self.now_us - us))
    }
}

fn seconds(us: i64) -> u64 {
    u64::try_from(us / 1_000_000).unwrap_or(0)
}
