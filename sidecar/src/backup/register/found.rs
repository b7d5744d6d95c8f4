//! What lies in a directory that another tool has made, as far as it can be known without a server.

use std::fs;
use std::io;
use std::path::Path;
use std::time::UNIX_EPOCH;

use anyhow::Context as _;
use pitr_binlog::{BinlogName, GtidSet};
use serde_json::Value;

use super::copy::is_a_note;
use super::{impossible, log};
use crate::error::Failure;
use crate::mysql::OptionFile;
use crate::server::{DatadirLocks, MatchedSettings};

/// A data directory that can be registered.
#[derive(Debug)]
pub(super) struct Found {
    /// Bytes of its files.
    pub(super) bytes: u64,
    /// When the newest of its files was written, in microseconds since 1970.
    pub(super) newest_us: i64,
    /// The server that it was taken from.
    pub(super) source: Option<String>,
    /// What the tool noted as executed.
    pub(super) executed: Option<GtidSet>,
    /// Where the source's log was then.
    pub(super) position: Option<(BinlogName, u64)>,
    /// Settings that the tool noted.
    pub(super) settings: MatchedSettings,
}

impl Found {
    /// Looks, and refuses what is no data directory, is not ready, or belongs to a running server.
    pub(super) fn look(from: &Path) -> anyhow::Result<Self> {
        let named = || format!("read \"{}\"", from.display());
        fs::read_dir(from).with_context(named)?;
        if let Some(failure) = logical(from) {
            return Err(failure.into());
        }
        if !from.join("ibdata1").is_file() || !from.join("mysql.ibd").is_file() {
            let failure = impossible(format!("\"{}\" is no data directory of MySQL 8.0 or later", from.display()));
            return Err(failure.hint("it has no ibdata1 or no mysql.ibd").into());
        }
        if !["undo_001", "undo_002"].iter().all(|name| from.join(name).is_file()) {
            let failure = impossible(format!("\"{}\" has no undo tablespaces", from.display()));
            return Err(failure
                .hint("they lie elsewhere (innodb_undo_directory), and a copy without them is of no moment")
                .fix("copy undo_001 and undo_002 into it, and register it then")
                .into());
        }
        prepared(from)?;
        nobody_runs_on(from)?;
        let (bytes, newest_us) = measure(from).with_context(named)?;
        let option = |file: &str, group: &str, name: &str| {
            OptionFile::read(&from.join(file)).ok()?.get(group, name).map(str::to_owned)
        };
        let (executed, position) = noted(from)?;
        Ok(Self {
            bytes,
            newest_us,
            source: option("auto.cnf", "auto", "server_uuid")
                .or_else(|| option("backup-my.cnf", "mysqld", "server_uuid")),
            executed,
            position: position.or_else(|| log::end_of(from)),
            settings: MatchedSettings::from_options(|name| option("backup-my.cnf", "mysqld", name)),
        })
    }

    /// Refuses a directory that somebody wrote to since. Locks do not tell of a server on another node, nor of one that has ended again.
    pub(super) fn still(&self, from: &Path) -> anyhow::Result<()> {
        nobody_runs_on(from)?;
        let now = measure(from).with_context(|| format!("read \"{}\"", from.display()))?;
        if now == (self.bytes, self.newest_us) {
            return Ok(());
        }
        Err(impossible(format!("somebody wrote to \"{}\" while it was copied", from.display()))
            .hint("what was copied is of no one moment; nothing was stored")
            .fix("shut down the server that runs on it, or take a base backup of that: pitr-sidecar backup")
            .into())
    }
}

/// Refuses a scratch directory in the directory that is to be copied: it would copy itself until the disk is full.
pub(super) fn apart(from: &Path, scratch: &Path) -> anyhow::Result<()> {
    let from = fs::canonicalize(from).with_context(|| format!("read \"{}\"", from.display()))?;
    // It is made only later: what is there of its path decides.
    let absolute = std::path::absolute(scratch)?;
    let Some(there) = absolute.ancestors().find_map(|part| fs::canonicalize(part).ok()) else { return Ok(()) };
    if there.starts_with(&from) {
        let failure = impossible(format!("\"{}\" lies in the directory that is registered", scratch.display()));
        return Err(failure.hint("what was given is only read").fix("--scratch outside of --from").into());
    }
    Ok(())
}

/// Dumps of statements or of rows are no data directory: they are refused with what they say.
fn logical(from: &Path) -> Option<Failure> {
    let shell = fs::read(from.join("@.json")).ok().and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    let (tool, set) = if let Some(about) = shell {
        ("MySQL Shell", about["gtidExecuted"].as_str().map(str::to_owned))
    } else {
        let text = fs::read_to_string(from.join("metadata")).ok()?;
        let line =
            text.lines().find_map(|line| line.trim().to_ascii_lowercase().find("gtid").map(|_| line.trim().to_owned()));
        ("mydumper", line)
    };
    let of = set.filter(|set| !set.is_empty()).map_or_else(String::new, |set| format!(", taken at {set}"));
    Some(
        impossible(format!("\"{}\" is a dump of {tool}{of}", from.display()))
            .hint("only its own loader can load it, and no restore Job has that")
            .fix("load it into an empty server, shut that down, and register its data directory"),
    )
}

/// What xtrabackup copied is no data directory before it is prepared.
fn prepared(from: &Path) -> anyhow::Result<()> {
    let Ok(text) = fs::read_to_string(from.join("xtrabackup_checkpoints")) else { return Ok(()) };
    let kind = text.lines().find_map(|line| line.split_once('=').filter(|(name, _)| name.trim() == "backup_type"));
    match kind.map(|(_, kind)| kind.trim()) {
        Some("full-prepared") | None => Ok(()),
        Some(kind) => Err(impossible(format!("\"{}\" is a copy of xtrabackup's in state {kind}", from.display()))
            .fix("xtrabackup --prepare --target-dir=DIR (and its increments before), then register")
            .into()),
    }
}

/// What a server writes to meanwhile is of no moment.
fn nobody_runs_on(from: &Path) -> anyhow::Result<()> {
    if DatadirLocks::take(from)?.is_some() {
        return Ok(());
    }
    Err(impossible(format!("a server is running on \"{}\"", from.display()))
        .fix("shut it down, or take a base backup of it: pitr-sidecar backup")
        .into())
}

fn measure(from: &Path) -> io::Result<(u64, i64)> {
    let (mut bytes, mut newest_us) = (0, 0);
    let mut directories = vec![from.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(&directory)? {
            let (entry, at_top) = (entry?, directory == from);
            if at_top && entry.file_name().to_str().is_some_and(is_a_note) {
                continue;
            }
            let about = entry.metadata()?;
            if about.is_dir() {
                directories.push(entry.path());
                continue;
            }
            bytes += about.len();
            let since = about.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
            newest_us = newest_us.max(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        }
    }
    Ok((bytes, newest_us))
}

type Noted = (Option<GtidSet>, Option<(BinlogName, u64)>);

/// `binlog.000003 <tab> 157 <tab> SET`, the set over several lines.
fn noted(from: &Path) -> anyhow::Result<Noted> {
    let text = match fs::read_to_string(from.join("xtrabackup_binlog_info")) {
        Ok(text) => text,
        Err(reason) if reason.kind() == io::ErrorKind::NotFound => return Ok((None, None)),
        Err(reason) => return Err(reason).context("read xtrabackup_binlog_info"),
    };
    let mut fields = text.splitn(3, '\t');
    let (name, position, set) = (fields.next().unwrap_or_default(), fields.next(), fields.next().unwrap_or_default());
    let set: String = set.split_whitespace().collect();
    let set: GtidSet =
        set.parse().map_err(|error| impossible(format!("xtrabackup_binlog_info cannot be read: {error}")))?;
    let position = position.and_then(|position| position.trim().parse().ok());
    Ok(((!set.is_empty()).then_some(set), BinlogName::parse(name).ok().zip(position)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{Found, apart};

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        folder
    }

    fn refused(files: &[(&str, &str)]) -> String {
        Found::look(folder(files).path()).unwrap_err().to_string()
    }

    #[test]
    fn what_a_tool_noted_is_read() {
        let folder = folder(&[
            ("ibdata1", "12345"),
            ("mysql.ibd", "678"),
            ("undo_001", ""),
            ("undo_002", ""),
            ("xtrabackup_checkpoints", "backup_type = full-prepared\nfrom_lsn = 0\n"),
            ("xtrabackup_binlog_info", &format!("binlog.000003\t157\t{UUID}:1-5,\n{UUID}:7\n")),
            ("backup-my.cnf", &format!("[mysqld]\ninnodb_page_size=8192\nserver_uuid={UUID}\n")),
        ]);
        let found = Found::look(folder.path()).unwrap();
        assert_eq!(found.bytes, 8);
        assert_eq!(found.executed.as_ref().unwrap().to_string(), format!("{UUID}:1-5:7"));
        assert_eq!(found.position.as_ref().unwrap().1, 157);
        assert_eq!(found.source.as_deref(), Some(UUID));
        assert_eq!(found.settings.recorded()["innodb_page_size"], "8192");
        assert!(found.newest_us > 1_700_000_000_000_000);

        // Whoever writes to it while it is copied is seen by length or by time.
        found.still(folder.path()).unwrap();
        let system = fs::File::options().write(true).open(folder.path().join("ibdata1")).unwrap();
        let modified = system.metadata().unwrap().modified().unwrap();
        for (bytes, modified) in [(5, modified + SECOND), (6, modified)] {
            system.set_len(bytes).unwrap();
            system.set_modified(modified).unwrap();
            let refused = found.still(folder.path()).unwrap_err().to_string();
            assert!(refused.contains("somebody wrote to"), "{refused}");
        }
    }

    #[test]
    fn what_is_no_base_is_refused_with_what_it_is() {
        assert!(refused(&[("ibdata1", "1")]).contains("is no data directory"));
        let shell = refused(&[("@.json", &format!(r#"{{"gtidExecuted": "{UUID}:1-9"}}"#))]);
        assert!(shell.contains(&format!("is a dump of MySQL Shell, taken at {UUID}:1-9")), "{shell}");
        let dumper = refused(&[("metadata", "[source]\nexecuted_gtid_set = \"x:1-3\"\n")]);
        assert!(dumper.contains("is a dump of mydumper, taken at executed_gtid_set"), "{dumper}");
        let mut raw =
            vec![("ibdata1", "1"), ("mysql.ibd", "1"), ("xtrabackup_checkpoints", "backup_type = full-backuped\n")];
        raw.push(("undo_001", "1"));
        assert!(refused(&raw).contains("has no undo tablespaces"));
        raw.push(("undo_002", "1"));
        assert!(refused(&raw).contains("in state full-backuped"));
    }

    #[test]
    fn scratch_lies_elsewhere() {
        let home = folder(&[]);
        let from = home.path().join("data");
        fs::create_dir_all(from.join("shop")).unwrap();
        std::os::unix::fs::symlink(&from, home.path().join("link")).unwrap();
        for inside in ["data", "data/scratch", "data/shop/a/b", "link/scratch"] {
            assert!(apart(&from, &home.path().join(inside)).unwrap_err().to_string().contains("lies in"), "{inside}");
        }
        for beside in ["", "scratch", "data-scratch", "a/b"] {
            apart(&from, &home.path().join(beside)).unwrap();
        }
    }
}
