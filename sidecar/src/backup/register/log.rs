//! The binary log that a data directory brings: where it ends, and whether it has everything that its server executed. A base backup for
//! which both are known tells what the heads of that log leave out (docs/decisions/0007).

use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

use pitr_binlog::BinlogName;

/// How a binlog begins that is not encrypted.
const MAGIC: &[u8; 4] = b"\xfebin";
/// Flags of the first event: behind the magic, its time, type, server id, length and next position.
const FLAGS_AT: usize = 4 + 4 + 1 + 4 + 4 + 4;
/// The server has the file open (LOG_EVENT_BINLOG_IN_USE_F).
const IN_USE: u8 = 1;
/// The setting, by the names of both times.
const LOGS_ALL: [&str; 2] = ["log_replica_updates", "log_slave_updates"];
/// How an option says yes.
const ON: [&str; 4] = ["", "1", "on", "true"];

/// The end of the last binlog, if it is here and its server has closed it.
pub(super) fn end_of(from: &Path) -> Option<(BinlogName, u64)> {
    let names: Vec<String> =
        fs::read_dir(from).ok()?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    let mut indices = names.iter().filter(|name| name.ends_with(".index") && !name.contains("relay"));
    let (Some(index), None) = (indices.next(), indices.next()) else { return None };
    let text = fs::read_to_string(from.join(index)).ok()?;
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty())?.trim_start_matches("./");
    let (name, mut file) = (BinlogName::parse(last).ok()?, File::open(from.join(last)).ok()?);
    let mut first = [0; FLAGS_AT + 2];
    file.read_exact(&mut first).ok()?;
    (first.starts_with(MAGIC) && first[FLAGS_AT] & IN_USE == 0).then_some(())?;
    Some((name, file.metadata().ok()?.len()))
}

/// Whether a server with these options logs what it applies as a replica, too: servers of 8.0 and later do where nothing is said.
pub(super) fn has_all(option: impl Fn(&str) -> Option<String>) -> bool {
    let said = |name: &str| ["", "loose_"].iter().find_map(|prefix| option(&format!("{prefix}{name}")));
    LOGS_ALL.iter().all(|name| {
        let is_off = ["skip_", "disable_"].iter().any(|prefix| said(&format!("{prefix}{name}")).is_some());
        let is_on = said(name).is_none_or(|value| ON.contains(&value.to_ascii_lowercase().as_str()));
        is_on && !is_off
    })
}

/// Whether the server itself keeps such an option, which counts more than its option file.
pub(super) fn is_persisted(from: &Path) -> bool {
    let text = fs::read_to_string(from.join("mysqld-auto.cnf")).unwrap_or_default();
    LOGS_ALL.iter().any(|name| text.contains(name))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FLAGS_AT, end_of, has_all, is_persisted};

    fn binlog(magic: &[u8; 4], flags: u8) -> Vec<u8> {
        let mut bytes = [&magic[..], &[0; 200]].concat();
        bytes[FLAGS_AT] = flags;
        bytes
    }

    #[test]
    fn the_end_of_a_closed_log_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
        assert!(end_of(folder.path()).is_none(), "no log");
        write("mysql-relay-bin.index", b"./mysql-relay-bin.000009\n");
        write("binlog.index", b"./binlog.000001\n./binlog.000002\n");
        assert!(end_of(folder.path()).is_none(), "its file is not here");
        write("binlog.000002", &binlog(b"\xfebin", 0));
        let (name, end) = end_of(folder.path()).unwrap();
        assert_eq!((name.as_str(), end), ("binlog.000002", 204));
        write("binlog.000002", &binlog(b"\xfebin", 1));
        assert!(end_of(folder.path()).is_none(), "its server did not close it");
        write("binlog.000002", &binlog(b"\xfdbin", 0));
        assert!(end_of(folder.path()).is_none(), "encrypted: the archive has other offsets");
        write("binlog.000002", &binlog(b"\xfebin", 0));
        write("other.index", b"./other.000001\n");
        assert!(end_of(folder.path()).is_none(), "two logs");
    }

    #[test]
    fn a_server_logs_what_it_applies_unless_it_says_not_to() {
        let of = |options: &'static [(&str, &str)]| {
            has_all(|name| options.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert!(of(&[]) && of(&[("log_replica_updates", "")]) && of(&[("log_slave_updates", "ON")]));
        for off in [
            &[("log_replica_updates", "OFF")] as &'static [(&str, &str)],
            &[("log_slave_updates", "0")],
            &[("skip_log_slave_updates", "")],
            &[("loose_log_replica_updates", "false")],
        ] {
            assert!(!of(off), "{off:?}");
        }
    }

    #[test]
    fn what_the_server_keeps_itself_is_seen() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!is_persisted(folder.path()));
        fs::write(folder.path().join("mysqld-auto.cnf"), r#"{"log_replica_updates": {"Value": "OFF"}}"#).unwrap();
        assert!(is_persisted(folder.path()));
    }
}
