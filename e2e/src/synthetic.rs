//! Binlogs made by counting: as many and as long as wanted, and no server needed. What they hold is a template's last transaction, its
//! rows replaced by as many events as wanted, with checksums that are right.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use pitr_binlog::event::{EventHeader, write_crc32};

/// A small binlog of MySQL 9.7.4 that was not closed; it ends in a transaction with one row.
const TEMPLATE: &[u8] = include_bytes!("../../crates/binlog/tests/fixtures/mysql-9.7.4/crash.binlog");
/// Format description and previous GTIDs.
const HEAD_EVENTS: usize = 2;
/// GTID, BEGIN, table map, rows, XID.
const TRANSACTION_EVENTS: usize = 5;
/// Which of them is the rows.
const ROWS: usize = 3;
/// Bytes of one event's rows: what a server writes at most where rows are small (`binlog_row_event_max_size`).
const ROW_BYTES: usize = 8 << 10;
/// Header, table id, flags, and no extra data: what stands before the rows.
const ROWS_BEFORE: usize = EventHeader::LENGTH + 10;

/// What is in a binlog.
#[derive(Debug, Clone, Copy)]
pub struct Content {
    /// How many transactions.
    pub transactions: u64,
    /// Bytes of the rows of each.
    pub transaction_bytes: u64,
    /// Which bits of the rows are noise, the others being 0: all for what does not compress.
    pub noise: u64,
}

/// A data directory of no server, with binlogs.
#[derive(Debug)]
pub struct Binlogs {
    datadir: PathBuf,
    names: Vec<String>,
    random: u64,
}

impl Binlogs {
    /// None yet, in a directory that is made.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn new(datadir: &Path) -> Result<Self> {
        std::fs::create_dir_all(datadir).context("make a data directory")?;
        std::fs::write(datadir.join("auto.cnf"), "[auto]\nserver-uuid=3e11fa47-71ca-11e1-9e33-c80aa9429562\n")?;
        Ok(Self { datadir: datadir.to_owned(), names: Vec::new(), random: 0x9e37_79b9_7f4a_7c15 })
    }

    /// The next binlog.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&mut self, content: Content) -> Result<()> {
        let path = self.next()?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).context("make a binlog")?);
        let events = events();
        let head: usize = events[..HEAD_EVENTS].iter().map(|event| event.len()).sum();
        file.write_all(&TEMPLATE[..4 + head])?;
        let transaction = &events[events.len() - TRANSACTION_EVENTS..];
        for _ in 0..content.transactions {
            for (place, event) in transaction.iter().enumerate() {
                if place == ROWS {
                    self.rows(&mut file, event, content)?;
                } else {
                    file.write_all(event)?;
                }
            }
        }
        file.flush().context("write a binlog")
    }

    /// The same bytes as the last one, under one more name: a link, which takes no room.
    ///
    /// # Errors
    /// There is none yet, or it cannot be linked.
    pub fn repeat(&mut self) -> Result<()> {
        let last = self.names.last().context("no binlog to repeat")?.clone();
        let path = self.next()?;
        std::fs::hard_link(self.datadir.join(last), path).context("link a binlog")
    }

    fn next(&mut self) -> Result<PathBuf> {
        self.names.push(format!("binlog.{:06}", self.names.len() + 1));
        let index: String = self.names.iter().map(|name| format!("./{name}\n")).collect();
        std::fs::write(self.datadir.join("binlog.index"), index).context("write the index")?;
        Ok(self.datadir.join(&self.names[self.names.len() - 1]))
    }

    fn rows(&mut self, file: &mut impl std::io::Write, event: &[u8], content: Content) -> Result<()> {
        let mut left = usize::try_from(content.transaction_bytes)?;
        while left > 0 {
            let bytes = left.min(ROW_BYTES);
            let mut rows = event[..ROWS_BEFORE.min(event.len())].to_vec();
            rows.extend((0..bytes.div_ceil(8)).flat_map(|_| (self.random() & content.noise).to_le_bytes()));
            rows.extend([0; 4]);
            let size = u32::try_from(rows.len())?.to_le_bytes();
            rows[9..13].copy_from_slice(&size);
            write_crc32(&mut rows);
            file.write_all(&rows)?;
            left -= bytes;
        }
        Ok(())
    }

    /// xorshift64: the same noise in every run.
    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

/// The template's events.
fn events() -> Vec<&'static [u8]> {
    let mut events = Vec::new();
    let mut rest = &TEMPLATE[4..];
    while let Some(header) = rest.first_chunk().map(EventHeader::parse) {
        let (event, after) = rest.split_at((header.size as usize).min(rest.len()));
        events.push(event);
        rest = after;
    }
    events
}
