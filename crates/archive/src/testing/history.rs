//! A made-up binlog with transactions of known content: enough for the archive, which never looks into events.

use bytes::Bytes;
use pitr_binlog::{BinlogName, Flavour, Gtid, GtidSet, GtidSource, TransactionFlags, Uuid};
use pitr_recovery::BinlogId;

use crate::digest::ShortHash;
use crate::layout::Place;
use crate::segment::{Closes, IndexedTransaction, SegmentDraft, SegmentOrigin};

/// The length of the made-up head of a file.
const HEAD_BYTES: u64 = 126;

/// One binlog of a server with consecutive GTIDs.
#[derive(Debug, Clone)]
pub struct History {
    /// The binlog.
    pub id: BinlogId,
    /// Its name.
    pub name: BinlogName,
    /// The whole file.
    pub raw: Bytes,
    /// Its transactions.
    pub transactions: Vec<IndexedTransaction>,
    /// All before it.
    pub previous: GtidSet,
}

impl History {
    /// Binlog `number` of the server `server`, with `count` transactions that follow on those of earlier numbers.
    #[must_use]
    pub fn new(server: u8, number: u64, count: u64) -> Self {
        let uuid = Uuid([server; 16]);
        let source = GtidSource::MySql { uuid, tag: None };
        let first = (number - 1) * count + 1;
        let mut previous = GtidSet::new();
        if first > 1 {
            previous.insert_range(&source, 1..=first - 1);
        }
        let mut raw = b"\xfebin".to_vec();
        // The head differs from file to file, as PREVIOUS_GTIDS does; its lowest bit is that of a file in use.
        raw.resize(HEAD_BYTES as usize, (number << 1) as u8);
        let mut transactions = Vec::new();
        for n in first..first + count {
            let start = raw.len() as u64;
            let line = format!("transaction {n} of server {server}: insert into t values ({})\n", n * 7919 % 1000);
            raw.extend_from_slice(line.repeat(1 + (n % 5) as usize).as_bytes());
            let commit_us = 1_700_000_000_000_000 + (n * 1000).cast_signed();
            transactions.push(IndexedTransaction {
                gtid: Some(Gtid { source, number: n }),
                commit_us,
                immediate_us: Some(commit_us),
                start,
                end: raw.len() as u64,
                flags: if n % 10 == 0 { TransactionFlags::DDL } else { TransactionFlags::NONE },
                whole_second: false,
                xid: None,
            });
        }
        raw.extend_from_slice(b"rotate event");
        let head = ShortHash::of(&raw[4..HEAD_BYTES as usize]).0;
        Self {
            id: BinlogId { source: uuid.to_string(), number, head },
            name: BinlogName::parse(&format!("binlog.{number:06}")).expect("a number of six digits"),
            raw: raw.into(),
            transactions,
            previous,
        }
    }

    /// The end of the `n`-th transaction (from 0); what a tail segment may reach to.
    #[must_use]
    pub fn boundary(&self, n: usize) -> u64 {
        self.transactions[n].end
    }

    /// The length of the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.raw.len() as u64
    }

    /// All GTIDs of the file.
    #[must_use]
    pub fn gtids(&self) -> GtidSet {
        let mut set = GtidSet::new();
        self.transactions.iter().filter_map(|t| t.gtid.as_ref()).for_each(|gtid| set.insert(gtid));
        set
    }

    /// A draft of the bytes `start..end`. The one that reaches the file's end says so.
    #[must_use]
    pub fn draft(&self, place: Place, start: u64, end: u64) -> SegmentDraft {
        let at_end = end == self.length();
        SegmentDraft {
            place,
            binlog: self.id.clone(),
            name: self.name.clone(),
            origin: SegmentOrigin {
                flavour: Flavour::MySql,
                server_version: "9.7.0".to_owned(),
                checksum: "CRC32".to_owned(),
                previous: self.previous.clone().into(),
            },
            start,
            raw: self.raw.slice(start as usize..end as usize).into(),
            transactions: self.transactions.iter().filter(|t| t.end > start && t.end <= end).cloned().collect(),
            closes: at_end.then(|| Closes::Rotate { next: self.name.next() }),
            damage: None,
            starts_in_transaction: false,
            ends_in_transaction: false,
        }
    }
}
