//! When a binlog that is written to seldom is closed, so that it is archived for good.

use std::time::Duration;

use crate::archiver::head::Identified;
use crate::mysql::LogEnd;

/// Whether the binlog being written is to be closed. `end` is the server's own word of it: a spool may be behind.
pub(super) fn is_due(active: &Identified, end: &LogEnd, older_than: Duration, now_us: i64) -> bool {
    let is_the_same = end.binlog.name == active.name.as_str();
    let is_empty = end.binlog.bytes <= active.head.length;
    let is_old = active.began_us().is_some_and(|began_us| {
        let age_us = u64::try_from(now_us.saturating_sub(began_us)).unwrap_or(0);
        Duration::from_micros(age_us) >= older_than
    });
    is_the_same && !is_empty && is_old
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use pitr_binlog::{BinlogName, GtidSet};

    use super::*;
    use crate::archiver::head::identify;
    use crate::discovery::BinlogFile;
    use crate::mysql::ListedBinlog;

    const HOUR: Duration = Duration::from_secs(3600);

    /// A binlog of a real server.
    fn active() -> Identified {
        let folder = PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").unwrap())
            .join("../crates/binlog/tests/fixtures/mysql-9.7.4");
        let mut files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let path = files.find(|path| path.extension().is_some_and(|extension| extension == "binlog")).unwrap();
        let name = BinlogName::parse("binlog.000001").unwrap();
        identify(&BinlogFile::open(&path).unwrap(), &name, "s").unwrap()
    }

    fn end(name: &str, bytes: u64) -> LogEnd {
        LogEnd { binlog: ListedBinlog { name: name.to_owned(), bytes }, executed: GtidSet::new() }
    }

    #[test]
    fn an_old_binlog_with_something_in_it_is_closed_and_no_other() {
        let active = active();
        let (began_us, head) = (active.began_us().unwrap(), active.head.length);
        let full = end("binlog.000001", head + 1);
        let hour_us = 3_600_000_000;
        assert!(is_due(&active, &full, HOUR, began_us + hour_us));
        assert!(!is_due(&active, &full, HOUR, began_us + hour_us - 1), "younger");
        assert!(!is_due(&active, &full, HOUR, began_us - hour_us), "begun by a clock that is ahead");
        assert!(!is_due(&active, &end("binlog.000001", head), HOUR, began_us + hour_us), "empty");
        assert!(!is_due(&active, &end("binlog.000002", head + 1), HOUR, began_us + hour_us), "the server is ahead");
    }
}
