//! Expiry marks: what retention has proposed to delete (archive-format.md "Expiry"). Read and respected here.

use std::collections::BTreeSet;

use pitr_recovery::BinlogId;
use serde::Deserialize;

use crate::digest::ShortHash;
use crate::segment::FORMAT;

/// All live marks, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) binlogs: BTreeSet<BinlogId>,
    pub(crate) backups: BTreeSet<String>,
}

#[derive(Deserialize)]
struct MarksWire {
    format: u32,
    #[serde(default)]
    binlogs: Vec<BinlogMarkWire>,
    #[serde(default)]
    backups: Vec<BackupMarkWire>,
}

#[derive(Deserialize)]
struct BinlogMarkWire {
    source: String,
    seq: u64,
    head: String,
}

#[derive(Deserialize)]
struct BackupMarkWire {
    id: String,
}

impl Marks {
    /// Adds the marks of one object. `Err`: why it cannot be read.
    pub(crate) fn add(&mut self, object: &[u8]) -> Result<(), String> {
        let wire: MarksWire = serde_json::from_slice(object).map_err(|error| error.to_string())?;
        if wire.format != FORMAT {
            return Err(format!("written in format {}, this version reads format {FORMAT}", wire.format));
        }
        for BinlogMarkWire { source, seq, head } in wire.binlogs {
            let head = ShortHash::parse(&head).ok_or_else(|| format!("\"{head}\" is no head"))?.0;
            self.binlogs.insert(BinlogId { source, number: seq, head });
        }
        self.backups.extend(wire.backups.into_iter().map(|mark| mark.id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_several_objects_add_up() {
        let mut marks = Marks::default();
        marks.add(br#"{"format":1,"binlogs":[{"source":"s","seq":7,"head":"0102030405060708","since":"x"}]}"#).unwrap();
        marks.add(br#"{"format":1,"backups":[{"id":"bb-1"}]}"#).unwrap();
        let id = BinlogId { source: "s".to_owned(), number: 7, head: [1, 2, 3, 4, 5, 6, 7, 8] };
        assert!(marks.binlogs.contains(&id) && marks.backups.contains("bb-1"));
        assert!(marks.add(br#"{"format":2}"#).unwrap_err().contains("format 2"));
        assert!(marks.add(b"{}").is_err());
    }
}
