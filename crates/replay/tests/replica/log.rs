//! The binlogs of a real server as the log to replay: read from its files, up to an exact stop.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use bytes::Bytes;
use pitr_binlog::{BinlogName, Gtid, GtidSet, Head, Scan, Transaction, scan};
use pitr_replay::{LogOpener, LogPiece, LogReader, ReadError};

/// One binlog, or its beginning.
#[derive(Debug, Clone)]
pub(crate) struct File {
    pub(crate) name: BinlogName,
    pub(crate) head: Head,
    pub(crate) bytes: Bytes,
    /// Each transaction's GTID and end.
    pub(crate) transactions: Vec<(Option<Gtid>, u64)>,
}

/// Binlogs in order.
#[derive(Debug, Clone)]
pub(crate) struct Log {
    pub(crate) files: Vec<File>,
    /// Size of the pieces that the bytes come in: odd, so that events are cut.
    pub(crate) piece: usize,
    /// Time that each piece takes.
    pub(crate) pause: Duration,
    /// After so many pieces of a pass, the reader gives up.
    pub(crate) fails_after: Option<usize>,
}

impl Log {
    /// All whole transactions that are in a server's binlogs now.
    pub(crate) fn of(datadir: &Path) -> Result<Self> {
        let index = std::fs::read_to_string(datadir.join("binlog.index")).context("read the index file")?;
        let mut files = Vec::new();
        for entry in index.lines() {
            let bytes = std::fs::read(datadir.join(entry))?;
            let name = BinlogName::parse(entry.trim_start_matches("./"))?;
            let mut transactions: Vec<(Option<Gtid>, u64)> = Vec::new();
            let mut found = |found: Transaction| transactions.push((found.gtid, found.end));
            let Scan { head, boundary, damage, .. } = scan(&bytes[..], &mut found)?;
            assert_eq!(damage, None, "{name}");
            let bytes = Bytes::from(bytes).slice(..boundary as usize);
            files.push(File { name, head: head.context("no head")?, bytes, transactions });
        }
        Ok(Self { files, piece: 100_003, pause: Duration::ZERO, fails_after: None })
    }

    /// The log up to and with its `count`-th transaction.
    pub(crate) fn first(mut self, mut count: usize) -> Self {
        for file in &mut self.files {
            if count < file.transactions.len() {
                file.transactions.truncate(count);
                let end = file.transactions.last().map_or(file.head.length, |(_, end)| *end);
                file.bytes.truncate(end as usize);
            }
            count -= file.transactions.len();
        }
        self
    }

    /// How many transactions there are.
    pub(crate) fn len(&self) -> usize {
        self.files.iter().map(|file| file.transactions.len()).sum()
    }

    /// The GTIDs of all transactions.
    pub(crate) fn executed(&self) -> GtidSet {
        let mut set = GtidSet::new();
        for (gtid, _) in self.files.iter().flat_map(|file| &file.transactions) {
            if let Some(gtid) = gtid {
                set.insert(gtid);
            }
        }
        set
    }

    fn pieces(&self, executed: &GtidSet) -> Vec<LogPiece> {
        let mut pieces = Vec::new();
        for file in &self.files {
            // As a reader of an archive does: what the replica has at the beginning of a file is not read.
            let has = |gtid: &Option<Gtid>| gtid.is_some_and(|gtid| executed.contains(&gtid));
            let known = file.transactions.iter().take_while(|(gtid, _)| has(gtid)).last();
            let mut start = known.map_or(file.head.length, |(_, end)| *end);
            let left_out =
                file.transactions.iter().take_while(|(_, end)| *end <= start).filter_map(|(gtid, _)| *gtid).collect();
            pieces.push(LogPiece::File {
                name: file.name.clone(),
                head: file.head.bytes.clone().into(),
                start,
                left_out,
            });
            let rest = file.bytes.slice(start as usize..);
            for piece in rest.chunks(self.piece) {
                pieces.push(LogPiece::Bytes { start, bytes: rest.slice_ref(piece) });
                start += piece.len() as u64;
            }
        }
        pieces
    }
}

impl LogOpener for Log {
    fn open(&self, executed: &GtidSet) -> Box<dyn LogReader> {
        let pieces = self.pieces(executed).into_iter().enumerate();
        Box::new(Pass { pieces, pause: self.pause, fails_after: self.fails_after })
    }
}

struct Pass {
    pieces: std::iter::Enumerate<std::vec::IntoIter<LogPiece>>,
    pause: Duration,
    fails_after: Option<usize>,
}

#[async_trait]
impl LogReader for Pass {
    async fn next(&mut self) -> Result<Option<LogPiece>, ReadError> {
        tokio::time::sleep(self.pause).await;
        match self.pieces.next() {
            Some((number, _)) if self.fails_after.is_some_and(|limit| number >= limit) => {
                Err(ReadError::new("the archive is on fire"))
            }
            next => Ok(next.map(|(_, piece)| piece)),
        }
    }
}

/// A log to hand to a source.
pub(crate) fn shared(log: Log) -> Arc<dyn LogOpener> {
    Arc::new(log)
}
