//! Expiry marks: what retention has proposed to delete (archive-format.md "Expiry").

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitr_recovery::BinlogId;
use serde::{Deserialize, Serialize};

use crate::digest::ShortHash;
use crate::segment::{FORMAT, SegmentRecord};

/// One mark: a proposal, until its item is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// When it was made, by the store's clock.
    pub(crate) since: Timestamp,
    /// When a look first found no object of it.
    pub(crate) emptied_at: Option<Timestamp>,
    /// When a look first found neither object nor line of it.
    pub(crate) unseen_since: Option<Timestamp>,
}

impl Mark {
    pub(crate) fn new(since: Timestamp) -> Self {
        Self { since, emptied_at: None, unseen_since: None }
    }

    /// Two marks of one item: whichever lets it live longer.
    fn join(self, other: Self) -> Self {
        let later = |a: Option<Timestamp>, b: Option<Timestamp>| a.zip(b).map(|(a, b)| a.max(b));
        Self {
            since: self.since.max(other.since),
            emptied_at: later(self.emptied_at, other.emptied_at),
            unseen_since: later(self.unseen_since, other.unseen_since),
        }
    }
}

/// All live marks, taken together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) binlogs: BTreeMap<BinlogId, Mark>,
    pub(crate) backups: BTreeMap<String, Mark>,
    /// The longest window that was promised, in microseconds.
    pub(crate) promised_us: Option<i64>,
    /// Whether binlogs go by age while no base backup can be used.
    pub(crate) by_age: bool,
}

#[derive(Serialize, Deserialize)]
struct MarksWire {
    format: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    promised_us: Option<i64>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    by_age: bool,
    #[serde(default)]
    binlogs: Vec<BinlogMarkWire>,
    #[serde(default)]
    backups: Vec<BackupMarkWire>,
}

#[derive(Serialize, Deserialize)]
struct BinlogMarkWire {
    source: String,
    seq: u64,
    head: String,
    #[serde(flatten)]
    mark: MarkWire,
}

#[derive(Serialize, Deserialize)]
struct BackupMarkWire {
    id: String,
    #[serde(flatten)]
    mark: MarkWire,
}

#[derive(Serialize, Deserialize)]
struct MarkWire {
    since: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    emptied_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unseen_since: Option<Timestamp>,
}

impl From<MarkWire> for Mark {
    fn from(wire: MarkWire) -> Self {
        Self { since: wire.since, emptied_at: wire.emptied_at, unseen_since: wire.unseen_since }
    }
}

impl From<Mark> for MarkWire {
    fn from(mark: Mark) -> Self {
        Self { since: mark.since, emptied_at: mark.emptied_at, unseen_since: mark.unseen_since }
    }
}

impl Marks {
    /// Whether a segment is told by the bytes of a binlog that has a mark.
    pub(crate) fn concern(&self, record: &SegmentRecord) -> bool {
        record
            .header
            .repeat()
            .is_some_and(|repeat| repeat.of.iter().any(|of| self.binlogs.contains_key(&of.key.binlog)))
    }

    /// Adds the marks of one object. `Err`: why it cannot be read.
    pub(crate) fn add(&mut self, object: &[u8]) -> Result<(), String> {
        let wire: MarksWire = serde_json::from_slice(object).map_err(|error| error.to_string())?;
        if wire.format != FORMAT {
            return Err(format!("written in format {}, this version reads format {FORMAT}", wire.format));
        }
        for BinlogMarkWire { source, seq, head, mark } in wire.binlogs {
            let head = ShortHash::parse(&head).ok_or_else(|| format!("\"{head}\" is no head"))?.0;
            let mark = Mark::from(mark);
            let id = BinlogId { source, number: seq, head };
            self.binlogs.entry(id).and_modify(|known| *known = known.join(mark)).or_insert(mark);
        }
        for BackupMarkWire { id, mark } in wire.backups {
            let mark = Mark::from(mark);
            self.backups.entry(id).and_modify(|known| *known = known.join(mark)).or_insert(mark);
        }
        self.promised_us = self.promised_us.max(wire.promised_us);
        self.by_age |= wire.by_age;
        Ok(())
    }

    /// As one object.
    pub(crate) fn to_json(&self) -> Result<Vec<u8>, serde_json::Error> {
        let binlog = |(id, mark): (&BinlogId, &Mark)| BinlogMarkWire {
            source: id.source.clone(),
            seq: id.number,
            head: ShortHash(id.head).to_string(),
            mark: (*mark).into(),
        };
        let backup = |(id, mark): (&String, &Mark)| BackupMarkWire { id: id.clone(), mark: (*mark).into() };
        serde_json::to_vec(&MarksWire {
            format: FORMAT,
            promised_us: self.promised_us,
            by_age: self.by_age,
            binlogs: self.binlogs.iter().map(binlog).collect(),
            backups: self.backups.iter().map(backup).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn marks_of_several_objects_add_up_and_the_later_counts() {
        let id = BinlogId { source: "s".to_owned(), number: 7, head: [1, 2, 3, 4, 5, 6, 7, 8] };
        let mut first = Marks { promised_us: Some(5), by_age: true, ..Marks::default() };
        first.binlogs.insert(id.clone(), Mark { emptied_at: Some(at(20)), ..Mark::new(at(10)) });
        let mut second = Marks { promised_us: Some(3), ..Marks::default() };
        second.binlogs.insert(id.clone(), Mark::new(at(30)));
        second.backups.insert("bb-1".to_owned(), Mark::new(at(40)));
        let mut marks = Marks::default();
        marks.add(&first.to_json().unwrap()).unwrap();
        assert_eq!(marks, first);
        marks.add(&second.to_json().unwrap()).unwrap();
        assert_eq!(marks.binlogs[&id], Mark::new(at(30)));
        assert_eq!((marks.backups["bb-1"], marks.promised_us, marks.by_age), (Mark::new(at(40)), Some(5), true));
        assert!(marks.add(br#"{"format":2}"#).unwrap_err().contains("format 2"));
        assert!(marks.add(b"{}").is_err());
        assert!(marks.add(br#"{"format":1,"backups":[{"id":"bb-1"}]}"#).is_err(), "a mark without its time");
    }
}
