//! The log as one stream for `mysqlbinlog`: what a replica would be sent with each transaction alone, as a file.
//!
//! `mysqlbinlog` writes SQL text. What could become other SQL on the way is refused before it is written: names of tables with line
//! breaks stand in comments as they are, and the delimiter between its statements can stand within one.

use std::collections::VecDeque;
use std::io;

use bytes::Bytes;
use pitr_binlog::event::{ChecksumAlgorithm, EventHeader, EventType, Events, TableMap};
use pitr_binlog::{BinlogName, GtidSet, MAGIC};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::batch::unpacked;
use crate::cutter::{Cut, Known, Plain};
use crate::failure::{Fault, InFile, SourceFailure};
use crate::head::{FIRST_EVENT, FileHead};
use crate::log::{LogPiece, LogReader};
use crate::splitter::{Broken, Part, Splitter};

/// Bytes of one table's description, or of one compressed transaction, that are held to be looked into.
const HELD_MAX: usize = 64 << 20;
/// What ends each statement of `mysqlbinlog`.
const DELIMITER: &[u8] = b"/*!*/;";

/// Why the log was not written to its end.
#[derive(Debug, thiserror::Error)]
pub enum PipeFailure {
    /// The log can't be read, or is no MySQL log with GTIDs.
    #[error(transparent)]
    Source(#[from] SourceFailure),
    /// An event that SQL text cannot carry; nothing of its transaction was written that could be committed.
    #[error("{what} at {binlog}:{offset}")]
    Unsuited {
        /// The file.
        binlog: BinlogName,
        /// Where in the file the event begins.
        offset: u64,
        /// What is in the way.
        what: &'static str,
    },
    /// The other side no longer reads.
    #[error("the log is no longer read")]
    Closed(#[source] io::Error),
}

/// What is told while the log is written.
#[derive(Debug, Clone, Default)]
pub struct PipeProgress {
    /// The file in hand.
    pub binlog: Option<BinlogName>,
    /// Transactions written, those that are emptied too.
    pub transactions: u64,
}

/// Writes the log as one binlog: without what is executed already, with what is to be skipped emptied, to its exact end.
///
/// # Errors
/// [`PipeFailure`]
pub async fn write_log(
    reader: &mut dyn LogReader,
    out: &mut (impl AsyncWrite + Unpin),
    (skip, executed): (GtidSet, GtidSet),
    told: &(impl Fn(PipeProgress) + Sync),
) -> Result<(), PipeFailure> {
    let cutter = Plain::new(Known { skip, executed });
    let mut pipe = Pipe { out, cutter, splitter: Splitter::default(), guard: Guard::default(), file: None, told };
    let outcome = pipe.run(reader).await;
    outcome.map_err(|stop| pipe.named(stop))
}

struct Pipe<'a, W, T> {
    out: &'a mut W,
    cutter: Plain,
    splitter: Splitter,
    guard: Guard,
    file: Option<BinlogName>,
    told: &'a T,
}

/// A [`PipeFailure`] that lacks the name of the file that it is about.
enum Stop {
    Fault(Fault),
    Unsuited(u64, &'static str),
}

macro_rules! stop_from {
    ($($cause:ty)*) => {
        $(impl From<$cause> for Stop {
            fn from(cause: $cause) -> Self {
                Self::Fault(cause.into())
            }
        })*
    };
}

stop_from! { Fault InFile Broken io::Error }

impl<W: AsyncWrite + Unpin, T: Fn(PipeProgress) + Sync> Pipe<'_, W, T> {
    async fn run(&mut self, reader: &mut dyn LogReader) -> Result<(), Stop> {
        self.out.write_all(&MAGIC).await?;
        while let Some(piece) = reader.next().await.map_err(Fault::Unreadable)? {
            match piece {
                LogPiece::File { name, head, start, .. } => self.begin_file(name, &head, start).await?,
                LogPiece::Bytes { start, bytes } => self.write_bytes(start, bytes).await?,
                LogPiece::Seam => {}
            }
            self.tell();
        }
        self.splitter.check_whole()?;
        Ok(self.out.flush().await?)
    }

    fn tell(&self) {
        let counts = self.cutter.counts();
        (self.told)(PipeProgress { binlog: self.file.clone(), transactions: counts.sent + counts.emptied });
    }

    async fn begin_file(&mut self, name: BinlogName, head: &Bytes, start: u64) -> Result<(), Stop> {
        self.splitter.check_whole()?;
        let begun_late = start > FIRST_EVENT + head.len() as u64;
        self.file = Some(name);
        let head = FileHead::parse(head)?;
        if !head.is_mysql() {
            return Err(InFile::NotMySql.into());
        }
        self.splitter.restart(start)?;
        self.cutter.restart(head.format.checksum);
        self.guard = Guard { checksum: head.format.checksum, ..Guard::default() };
        self.out.write_all(&head.format_description(begun_late)).await?;
        for event in &head.others {
            self.out.write_all(event).await?;
        }
        Ok(())
    }

    async fn write_bytes(&mut self, start: u64, bytes: Bytes) -> Result<(), Stop> {
        if start != self.splitter.expects() {
            return Err(Broken { offset: start, reason: "the bytes do not follow those before" }.into());
        }
        self.splitter.feed(bytes);
        let mut ready = VecDeque::new();
        while let Some(part) = self.splitter.next()? {
            let at = self.splitter.event_offset();
            let cut = self.cutter.cut(part).map_err(|uncuttable| InFile::of(uncuttable, at))?;
            ready.extend(cut);
            while let Some(cut) = ready.pop_front() {
                let fit = match cut {
                    Cut::Instead(events) => Some(events.into()),
                    Cut::Send(part) => self.guard.look(part).map_err(|what| Stop::Unsuited(at, what))?,
                    Cut::Alone(_) => None,
                };
                if let Some(bytes) = fit {
                    self.out.write_all(&bytes).await?;
                }
            }
        }
        Ok(())
    }

    fn named(&self, stop: Stop) -> PipeFailure {
        let unnamed = || SourceFailure::unreadable(&crate::ReadError::new("bytes before any file")).into();
        match (stop, &self.file) {
            (Stop::Fault(Fault::Lost(error)), _) => PipeFailure::Closed(error),
            (Stop::Fault(Fault::Unreadable(error)), _) => SourceFailure::unreadable(&error).into(),
            (Stop::Fault(Fault::InFile(fault)), Some(file)) => fault.named(file.clone(), 0).into(),
            (Stop::Unsuited(offset, what), Some(binlog)) => {
                PipeFailure::Unsuited { binlog: binlog.clone(), offset, what }
            }
            (_, None) => unnamed(),
        }
    }
}

/// Looks at each event before it is written.
#[derive(Debug)]
struct Guard {
    checksum: ChecksumAlgorithm,
    /// The event in hand.
    looks: Look,
}

impl Default for Guard {
    fn default() -> Self {
        Self { checksum: ChecksumAlgorithm::Crc32, looks: Look::Past }
    }
}

/// What is done with the parts of the event in hand.
#[derive(Debug)]
enum Look {
    /// They are written as they come.
    Past,
    /// Its text is searched; these are the last bytes of what came before.
    Through(Vec<u8>),
    /// They are held until all are there.
    Into(EventHeader, Vec<u8>),
}

impl Guard {
    /// The bytes to write, or why the event must not be.
    fn look(&mut self, part: Part) -> Result<Option<Bytes>, &'static str> {
        let bytes = match part {
            Part::First { header, bytes } => {
                self.looks = match header.event_type {
                    EventType::TABLE_MAP | EventType::TRANSACTION_PAYLOAD if header.size as usize <= HELD_MAX => {
                        Look::Into(header, Vec::with_capacity(header.size as usize))
                    }
                    EventType::TABLE_MAP | EventType::TRANSACTION_PAYLOAD => return Err(TOO_LARGE),
                    EventType::QUERY => Look::Through(Vec::new()),
                    _ => Look::Past,
                };
                check_type(header.event_type)?;
                bytes
            }
            Part::Rest(bytes) => bytes,
        };
        match &mut self.looks {
            Look::Past => Ok(Some(bytes)),
            Look::Through(before) => {
                before.extend_from_slice(&bytes);
                if has_delimiter(before) {
                    return Err(DELIMITER_WITHIN);
                }
                before.drain(..before.len().saturating_sub(DELIMITER.len() - 1));
                Ok(Some(bytes))
            }
            Look::Into(header, held) => {
                held.extend_from_slice(&bytes);
                if held.len() < header.size as usize {
                    return Ok(None);
                }
                let body = held.get(EventHeader::LENGTH..held.len().saturating_sub(self.checksum.length()));
                check_body(header, body.unwrap_or_default())?;
                Ok(Some(std::mem::take(held).into()))
            }
        }
    }
}

const LINE_BREAK: &str = "a table's name with a line break";
const DELIMITER_WITHIN: &str = "a statement with mysqlbinlog's delimiter in it";
const LOAD_DATA: &str = "LOAD DATA in statement format";
const TOO_LARGE: &str = "a compressed transaction that is too large to be looked into";
const CLOSED: &str = "an event that cannot be looked into";

fn has_delimiter(text: &[u8]) -> bool {
    text.windows(DELIMITER.len()).any(|bytes| bytes == DELIMITER)
}

fn check_type(event_type: EventType) -> Result<(), &'static str> {
    let loads = [EventType::BEGIN_LOAD_QUERY, EventType::APPEND_BLOCK, EventType::EXECUTE_LOAD_QUERY];
    if loads.contains(&event_type) { Err(LOAD_DATA) } else { Ok(()) }
}

/// Checks a whole event that bears names, or others.
fn check_body(header: &EventHeader, body: &[u8]) -> Result<(), &'static str> {
    let breaks = |name: &[u8]| name.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    match header.event_type {
        EventType::TABLE_MAP => {
            let map = TableMap::parse(body).map_err(|_| CLOSED)?;
            if breaks(map.schema) || breaks(map.table) { Err(LINE_BREAK) } else { Ok(()) }
        }
        EventType::TRANSACTION_PAYLOAD => {
            for bytes in unpacked(header, body, 0, HELD_MAX).ok_or(TOO_LARGE)? {
                for event in Events::new(&bytes, ChecksumAlgorithm::None) {
                    let event = event.map_err(|_| CLOSED)?;
                    check_type(event.header.event_type)?;
                    check_body(&event.header, event.body)?;
                }
            }
            Ok(())
        }
        EventType::QUERY if has_delimiter(body) => Err(DELIMITER_WITHIN),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(event_type: EventType, body: &[u8]) -> (EventHeader, Vec<u8>) {
        let size = (EventHeader::LENGTH + body.len() + 4) as u32;
        let header = EventHeader { timestamp: 1, event_type, server_id: 2, size, log_pos: 0, flags: 0 };
        (header, [&header.to_bytes()[..], body, &[0; 4]].concat())
    }

    fn table_map(schema: &str, table: &str) -> Vec<u8> {
        let name = |text: &str| [&[text.len() as u8], text.as_bytes(), &[0]].concat();
        [&[7, 0, 0, 0, 0, 0, 1, 0][..], &name(schema), &name(table), &[1, 3, 0, 0]].concat()
    }

    /// What is written of an event that comes in pieces.
    fn written(event_type: EventType, body: &[u8], pieces: usize) -> Result<Vec<u8>, &'static str> {
        let (header, bytes) = event(event_type, body);
        let mut guard = Guard::default();
        let mut out = Vec::new();
        for (number, piece) in bytes.chunks(pieces).enumerate() {
            let bytes = Bytes::copy_from_slice(piece);
            let part = if number == 0 { Part::First { header, bytes } } else { Part::Rest(bytes) };
            out.extend(guard.look(part)?.unwrap_or_default());
        }
        assert_eq!(out, bytes);
        Ok(out)
    }

    #[test]
    fn what_text_could_turn_into_other_sql_is_refused_in_any_pieces() {
        for pieces in [1, 3, 19, 20, 1000] {
            assert!(written(EventType::TABLE_MAP, &table_map("shop", "orders"), pieces).is_ok());
            for (schema, table) in [("shop", "a\nDROP DATABASE shop"), ("a\rb", "t")] {
                assert_eq!(written(EventType::TABLE_MAP, &table_map(schema, table), pieces), Err(LINE_BREAK));
            }
            assert!(written(EventType::QUERY, b"CREATE TABLE t (a int) /* / */;", pieces).is_ok());
            assert_eq!(written(EventType::QUERY, b"SELECT '/*!*/;'", pieces), Err(DELIMITER_WITHIN));
            assert_eq!(written(EventType::BEGIN_LOAD_QUERY, b"1,2", pieces), Err(LOAD_DATA));
            assert!(written(EventType::WRITE_ROWS, b"/*!*/;", pieces).is_ok());
        }
        assert_eq!(written(EventType::TABLE_MAP, b"short", 1000), Err(CLOSED));
        assert_eq!(written(EventType::TRANSACTION_PAYLOAD, b"nothing", 1000), Err(TOO_LARGE));
    }
}
