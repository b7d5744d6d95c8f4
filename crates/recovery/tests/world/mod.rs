//! A small archived world: binlogs as the servers wrote them, what of them is archived, and base backups.
//!
//! Every transaction is [`SIZE`] bytes long and a file's head too, so that offsets can be read off: transaction `i` of a file
//! (from 0) lies at `100 * (i + 1)`.

use std::collections::{BTreeMap, hash_map::DefaultHasher};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, TransactionFlags};
use pitr_recovery::{
    ArchivedBinlog, ArchivedRange, BaseBackup, BinlogId, Closed, Damage, IndexEntry, Indices, Inventory, PlanRequest,
    RangeFlags, RangeKind, RangeRef, RestorePlan, StoredObject, Timeline, TransactionIndex, TransactionPoint,
    Unrecoverable,
};

/// Bytes of one transaction, and of a file's head.
pub(crate) const SIZE: u64 = 100;

/// A transaction that really happened. Two with one GTID and different `id` are two different ones.
#[derive(Clone, Debug)]
pub(crate) struct Tx {
    pub(crate) id: u32,
    pub(crate) gtid: Option<Gtid>,
    /// When its server committed it.
    pub(crate) us: i64,
    /// When the server that wrote this log committed it.
    pub(crate) here_us: i64,
    pub(crate) flags: TransactionFlags,
    pub(crate) whole_second: bool,
}

/// Bytes of a file that are archived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) kind: RangeKind,
}

/// A binlog.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) id: BinlogId,
    pub(crate) previous: GtidSet,
    pub(crate) txs: Vec<Tx>,
    pub(crate) closed: Closed,
    pub(crate) damage: Option<Damage>,
    pub(crate) archived: Vec<Span>,
    /// Of that, what cannot be read any more.
    pub(crate) lost: Vec<Span>,
}

/// What the archive is made from.
#[derive(Clone, Debug)]
pub(crate) struct World {
    pub(crate) flavour: Flavour,
    pub(crate) files: Vec<File>,
    pub(crate) backups: Vec<BaseBackup>,
    /// The server that is seen running.
    pub(crate) running: Option<String>,
}

/// The end of the `count`-th transaction of a file.
pub(crate) const fn boundary(count: usize) -> u64 {
    SIZE * (count as u64 + 1)
}

pub(crate) fn name(number: u64) -> BinlogName {
    BinlogName::parse(&format!("binlog.{number:06}")).unwrap()
}

pub(crate) fn file_id(source: &str, number: u64, salt: u64) -> BinlogId {
    BinlogId { source: source.to_owned(), number, head: hash(&(source, number, salt)).to_be_bytes() }
}

fn hash(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish()
}

impl File {
    /// The transactions that end in some bytes, with their numbers.
    pub(crate) fn ending_in(&self, start: u64, end: u64) -> impl DoubleEndedIterator<Item = (usize, &Tx)> + Clone {
        self.txs.iter().enumerate().filter(move |(i, _)| (start + 1..=end).contains(&boundary(i + 1)))
    }

    fn point(&self, i: usize) -> TransactionPoint {
        let tx = &self.txs[i];
        TransactionPoint { gtid: tx.gtid, commit_us: tx.us, start: boundary(i), end: boundary(i + 1) }
    }

    /// What the raw bytes hash to: equal for equal bytes of one file, whoever stored them.
    pub(crate) fn raw_sha256(&self, span: Span) -> [u8; 32] {
        let touches = |i: usize| boundary(i) < span.end && span.start < boundary(i + 1);
        let ids: Vec<u32> = (0..self.txs.len()).filter(|i| touches(*i)).map(|i| self.txs[i].id).collect();
        let digest = hash(&(&self.id.head, span.start, span.end, ids));
        let mut sha = [0; 32];
        sha.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&digest.to_be_bytes()));
        sha
    }

    fn range(&self, span: Span) -> ArchivedRange {
        let inside = || self.ending_in(span.start, span.end);
        let times = || inside().map(|(_, tx)| tx.us);
        let mut step_back_us = 0;
        times().fold(i64::MIN, |max, us| {
            step_back_us = step_back_us.max(max.saturating_sub(us));
            max.max(us)
        });
        let raw_sha256 = self.raw_sha256(span);
        let within = |at: u64| at > SIZE && !at.is_multiple_of(SIZE);
        ArchivedRange {
            start: span.start,
            end: span.end,
            raw_sha256,
            kind: span.kind,
            gtids: inside().filter_map(|(_, tx)| tx.gtid).collect(),
            transactions: inside().count() as u64,
            first: inside().next().map(|(i, _)| self.point(i)),
            last: inside().next_back().map(|(i, _)| self.point(i)),
            min_commit_us: times().min().unwrap_or(0),
            max_commit_us: times().max().unwrap_or(0),
            step_back_us,
            flags: RangeFlags {
                transactions: inside().fold(TransactionFlags::NONE, |all, (_, tx)| all.union(tx.flags)),
                anonymous: inside().any(|(_, tx)| tx.gtid.is_none()),
                whole_seconds: inside().any(|(_, tx)| tx.whole_second),
                starts_in_transaction: within(span.start),
                ends_in_transaction: within(span.end),
                shut_down: self.closed == Closed::Stopped && span.end == boundary(self.txs.len()),
            },
            objects: if self.lost.contains(&span) { Vec::new() } else { vec![self.object(span)] },
        }
    }

    fn object(&self, span: Span) -> StoredObject {
        StoredObject {
            key: format!("{}/{}-{}", self.id, span.start, span.end),
            length: span.end - span.start,
            sha256_begins: [0; 8],
        }
    }

    fn index(&self, span: Span) -> TransactionIndex {
        let entry = |(i, tx): (usize, &Tx)| IndexEntry {
            gtid: tx.gtid,
            commit_us: tx.us,
            immediate_us: Some(tx.here_us),
            start: boundary(i),
            end: boundary(i + 1),
            flags: tx.flags,
            xid: None,
        };
        TransactionIndex { entries: self.ending_in(span.start, span.end).map(entry).collect() }
    }
}

impl World {
    /// What the archive says. Files with one identity are one binlog with two contents.
    pub(crate) fn inventory(&self) -> Inventory {
        let mut binlogs: Vec<ArchivedBinlog> = Vec::new();
        for file in self.files.iter().filter(|file| !file.archived.is_empty()) {
            let ranges: Vec<ArchivedRange> = file.archived.iter().map(|span| file.range(*span)).collect();
            let begins = ranges.iter().any(|range| range.start == 0);
            if let Some(twin) = binlogs.iter_mut().find(|binlog| binlog.id == file.id) {
                twin.ranges.extend(ranges);
                twin.previous_known |= begins;
                continue;
            }
            binlogs.push(ArchivedBinlog {
                id: file.id.clone(),
                name: name(file.id.number),
                flavour: self.flavour,
                server_version: "9.7.0".to_owned(),
                previous: file.previous.clone(),
                previous_known: begins,
                ranges,
                closed: file.closed.clone(),
                damage: file.damage.clone(),
            });
        }
        Inventory {
            workload: "shop/mysql".to_owned(),
            binlogs: binlogs.into_iter().map(Arc::new).collect(),
            backups: self.backups.clone(),
            listed_us: 0,
            running: self.running.clone(),
        }
    }

    /// The file that holds a range of an inventory.
    pub(crate) fn file_of(&self, id: &BinlogId, (start, end, sha): (u64, u64, [u8; 32])) -> &File {
        let holds = |file: &&File| {
            file.id == *id
                && file.archived.iter().any(|s| s.start == start && s.end == end && file.raw_sha256(*s) == sha)
        };
        self.files.iter().find(holds).expect("a range of the inventory")
    }

    /// Reads the indices of ranges.
    pub(crate) fn indices(&self, wanted: &[RangeRef]) -> Indices {
        let read = |range: &RangeRef| {
            let file = self.file_of(&range.binlog, (range.start, range.end, range.raw_sha256));
            let span = Span { start: range.start, end: range.end, kind: RangeKind::Catalogued };
            (range.clone(), file.index(span))
        };
        wanted.iter().map(read).collect()
    }

    /// The timeline with all the indices that make windows exact.
    pub(crate) fn timeline(&self) -> Timeline {
        let mut timeline = Timeline::new(self.inventory());
        for _ in 0..20 {
            let wanted = timeline.ranges_for_windows();
            if wanted.is_empty() {
                return timeline;
            }
            timeline = timeline.with_indices(self.indices(&wanted));
        }
        panic!("the timeline never has enough indices");
    }

    /// A plan, reading indices until it is answered.
    pub(crate) fn plan(&self, timeline: &Timeline, request: &PlanRequest) -> Result<RestorePlan, Unrecoverable> {
        let mut timeline = timeline.clone();
        for _ in 0..20 {
            let wanted = timeline.ranges_to_read(request)?;
            if wanted.is_empty() {
                return timeline.plan(request);
            }
            timeline = timeline.with_indices(self.indices(&wanted));
        }
        panic!("the plan never has enough indices");
    }
}

/// A base backup of some state.
pub(crate) fn backup(id: &str, source: &str, executed: GtidSet, snapshot_us: i64) -> BaseBackup {
    BaseBackup {
        id: id.to_owned(),
        method: "clone".to_owned(),
        flavour: Flavour::MySql,
        server_version: "9.7.0".to_owned(),
        source: source.to_owned(),
        executed,
        position: None,
        snapshot_us,
        started_us: snapshot_us,
        finished_us: snapshot_us,
        raw_bytes: 1000,
        stored_bytes: 1000,
        settings: BTreeMap::new(),
        recipients: Vec::new(),
    }
}
