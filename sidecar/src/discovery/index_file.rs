//! The server's binlog index: a text file with one binlog a line, oldest first.

use std::path::{Path, PathBuf};

use pitr_binlog::BinlogName;

/// One line of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// The binlog's name.
    pub(crate) name: BinlogName,
    /// Where the file lies as seen from here.
    pub(crate) path: PathBuf,
}

/// Reads the index text. Lines that are no binlog names are returned apart: they are reported, never fatal.
///
/// The server appends a line with one write. A last line without its end may still be on its way, so one that does not parse is
/// left for the next look.
pub(super) fn parse(text: &str, index: &Path, datadir: &Path) -> (Vec<IndexEntry>, Vec<String>) {
    let mut entries = Vec::new();
    let mut strange = Vec::new();
    for line in text.split_inclusive('\n') {
        let entry = line.trim_matches(['\n', '\r', ' ', '\0']);
        if entry.is_empty() {
            continue;
        }
        let name = entry.rsplit(['/', '\\']).next().map(BinlogName::parse);
        match name {
            Some(Ok(name)) => entries.push(IndexEntry { path: resolve(entry, index, datadir), name }),
            Some(Err(_)) | None if line.ends_with('\n') => strange.push(entry.to_owned()),
            Some(Err(_)) | None => {}
        }
    }
    (entries, strange)
}

/// A relative entry counts from the data directory, which is the server's working directory. Where the volume is mounted elsewhere
/// than in the server's container, neither reading exists here, and the file lies beside its index.
fn resolve(entry: &str, index: &Path, datadir: &Path) -> PathBuf {
    let from_datadir = datadir.join(entry);
    if from_datadir.exists() {
        return from_datadir;
    }
    let file_name = entry.rsplit(['/', '\\']).next().unwrap_or(entry);
    let beside_index = index.with_file_name(file_name);
    if beside_index.exists() { beside_index } else { from_datadir }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::parse;

    fn names(text: &str) -> (Vec<String>, Vec<String>) {
        let (entries, strange) = parse(text, Path::new("/none/binlog.index"), Path::new("/none"));
        (entries.iter().map(|entry| format!("{} {}", entry.name.as_str(), entry.path.display())).collect(), strange)
    }

    #[test]
    fn relative_absolute_and_windows_lines() {
        let (entries, strange) = names("./binlog.000001\r\n/logs/binlog.000002\n\nbinlog.1000000\n");
        assert_eq!(
            entries,
            [
                "binlog.000001 /none/./binlog.000001",
                "binlog.000002 /logs/binlog.000002",
                "binlog.1000000 /none/binlog.1000000"
            ]
        );
        assert!(strange.is_empty());
    }

    #[test]
    fn what_is_no_binlog_is_reported_and_a_line_on_its_way_is_not() {
        let (entries, strange) = names("rubbish\n./binlog.000001\n./binlog.");
        assert_eq!((entries.len(), strange), (1, vec!["rubbish".to_owned()]));
    }

    #[test]
    fn a_volume_mounted_elsewhere_is_found_beside_the_index() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("binlog.000001"), b"").unwrap();
        let index = folder.path().join("binlog.index");
        let (entries, _) = parse("/var/lib/mysql/binlog.000001\n", &index, folder.path());
        assert_eq!(entries[0].path, folder.path().join("binlog.000001"));
    }
}
