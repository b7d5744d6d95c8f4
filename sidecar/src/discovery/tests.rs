use std::fs;
use std::path::Path;

use super::{DiscoveryError, look};
use crate::config::SourceConfig;

const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

fn config(datadir: &Path) -> SourceConfig {
    SourceConfig { datadir: datadir.into(), ..SourceConfig::default() }
}

fn datadir() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("auto.cnf"), format!("[auto]\nserver-uuid={UUID}\n")).unwrap();
    folder
}

/// Magic and the header of a first event with these flags.
fn head(flags: u8) -> Vec<u8> {
    let mut bytes = b"\xfebin".to_vec();
    bytes.extend([0; 17]);
    bytes.extend([flags, 0]);
    bytes
}

#[test]
fn the_usual_place() {
    let folder = datadir();
    fs::write(folder.path().join("binlog.index"), "./binlog.000001\n./binlog.000002\n").unwrap();
    let found = look(&config(folder.path())).unwrap();
    assert_eq!(found.source, UUID);
    assert_eq!(found.entries.len(), 2);
}

#[test]
fn another_name_is_found_and_relay_logs_are_not() {
    let folder = datadir();
    for (name, flags) in [("db-0-bin", 0), ("db-0-relay", 0x40)] {
        fs::write(folder.path().join(format!("{name}.index")), format!("./{name}.000007\n")).unwrap();
        fs::write(folder.path().join(format!("{name}.000007")), head(flags)).unwrap();
    }
    let found = look(&config(folder.path())).unwrap();
    assert_eq!(found.entries[0].name.as_str(), "db-0-bin.000007");
}

#[test]
fn the_log_in_use_counts_whatever_the_clock_said() {
    let folder = datadir();
    for (name, seconds, flags) in [("ahead", 2_000_000_000_u32, 0), ("now", 1_700_000_000, 0x01)] {
        let mut bytes = head(flags);
        bytes[4..8].copy_from_slice(&seconds.to_le_bytes());
        fs::write(folder.path().join(format!("{name}.index")), format!("./{name}.000001\n")).unwrap();
        fs::write(folder.path().join(format!("{name}.000001")), bytes).unwrap();
    }
    let found = look(&config(folder.path())).unwrap();
    assert_eq!(found.entries.last().unwrap().name.as_str(), "now.000001");
}

#[test]
fn two_candidates_are_named_not_guessed() {
    let folder = datadir();
    for name in ["one", "two"] {
        fs::write(folder.path().join(format!("{name}.index")), format!("./{name}.000001\n")).unwrap();
        fs::write(folder.path().join(format!("{name}.000001")), head(0)).unwrap();
    }
    let error = look(&config(folder.path())).unwrap_err();
    assert!(matches!(&error, DiscoveryError::SeveralIndexes { found } if found.len() == 2), "{error}");
    let named = SourceConfig { binlog_basename: Some("two".into()), ..config(folder.path()) };
    assert_eq!(look(&named).unwrap().entries[0].name.as_str(), "two.000001");
}

#[test]
fn the_base_name_that_the_server_uses_now_comes_last_and_what_it_left_before_it() {
    let folder = datadir();
    let head_at = |seconds: u32| {
        let mut bytes = head(0);
        bytes[4..8].copy_from_slice(&seconds.to_le_bytes());
        bytes
    };
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    // One of the old ones was purged since.
    write("binlog.index", b"./binlog.000007\n./binlog.000008\n");
    write("binlog.000008", &head_at(1000));
    let mut lookout = super::Lookout::new(config(folder.path()));
    let names = |found: &super::Found| found.entries.iter().map(|e| e.name.as_str().to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&lookout.look().unwrap()), ["binlog.000007", "binlog.000008"]);
    write("mysql-bin.000001", &head_at(2000));
    write("mysql-bin.index", b"./mysql-bin.000001\n");
    assert_eq!(names(&lookout.look().unwrap()), ["binlog.000008", "mysql-bin.000001"]);
    // The server is just beginning its next file.
    write("mysql-bin.000002", b"\xfebin");
    write("mysql-bin.index", b"./mysql-bin.000001\n./mysql-bin.000002\n");
    assert_eq!(names(&lookout.look().unwrap()), ["binlog.000008", "mysql-bin.000001", "mysql-bin.000002"]);
}

#[test]
fn what_is_missing_is_said() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(look(&config(&folder.path().join("none"))), Err(DiscoveryError::NoDatadir { .. })));
    assert!(matches!(look(&config(folder.path())), Err(DiscoveryError::NoServerYet { .. })));
    let folder = datadir();
    assert!(matches!(look(&config(folder.path())), Err(DiscoveryError::NoIndex { .. })));
    fs::write(folder.path().join("auto.cnf"), "[auto]\n").unwrap();
    assert!(matches!(look(&config(folder.path())), Err(DiscoveryError::NoIdentity { .. })));
}
