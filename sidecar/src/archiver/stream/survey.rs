//! Which of the server's binlogs need not be received, without receiving them: their heads say which ones they are, and when those
//! before them were closed.

use std::collections::{BTreeMap, BTreeSet};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use pitr_archive::ShortHash;
use pitr_binlog::{BinlogName, Head, MAGIC, ScanError, Scanner};
use pitr_recovery::BinlogId;

use super::failure::{CANNOT_SEND, StreamError};
use crate::archiver::Pipeline;
use crate::archiver::outlived::ClosedFile;
use crate::mysql::{Dsn, Dump, DumpError, DumpRequest, ListedBinlog};
use crate::status;

/// Connections that read heads at once.
const AT_ONCE: usize = 4;

/// The closed binlogs of the list, which ends in the one being written, that are archived or that retention has let go.
pub(super) async fn archived(
    pipeline: &Pipeline,
    (dsn, source): (&Dsn, &str),
    logs: &[ListedBinlog],
) -> Result<BTreeSet<String>, StreamError> {
    let numbers: BTreeSet<u64> = {
        let ledger = pipeline.ledger();
        let binlogs = ledger.inventory().binlogs.iter().filter(|known| known.id.source == source);
        binlogs.map(|known| known.id.number).collect()
    };
    // Of a number that nobody archived nothing need be asked, unless retention may have let it go.
    let is_asked =
        |log: &&ListedBinlog| pipeline.has_promised() || number(log).is_some_and(|number| numbers.contains(&number));
    let looked = stream::iter(logs.iter().filter(is_asked)).map(|log| async move {
        let head = head(dsn, &log.name).await?;
        status::tick();
        Ok::<_, StreamError>(head.map(|head| (log.name.as_str(), head)))
    });
    let heads: BTreeMap<&str, Head> =
        looked.buffered(AT_ONCE).try_filter_map(async |head| Ok(head)).try_collect().await?;
    let is_done = |pair: &&[ListedBinlog]| {
        let [log, next] = pair else { return false };
        let Some((number, head)) = number(log).zip(heads.get(log.name.as_str())) else { return false };
        let id = BinlogId { source: source.to_owned(), number, head: ShortHash::of(&head.bytes).0 };
        if pipeline.is_expired(&id) || pipeline.ledger().progress(&id).is_done(log.bytes) {
            return true;
        }
        heads.get(next.name.as_str()).is_some_and(|next| {
            let closed_us = began_us(next);
            pipeline.lets_go(&ClosedFile { id: &id, before: &head.previous, after: &next.previous, closed_us })
        })
    };
    Ok(logs.windows(2).filter(is_done).map(|pair| pair[0].name.clone()).collect())
}

fn number(log: &ListedBinlog) -> Option<u64> {
    BinlogName::parse(&log.name).ok().map(|name| name.number())
}

/// When the server began a file, which is when it closed the one before; to the end of that second.
fn began_us(head: &Head) -> i64 {
    let seconds = head.format.event_bytes.first_chunk::<4>().map(|bytes| u32::from_le_bytes(*bytes));
    seconds.filter(|seconds| *seconds > 0).map_or(i64::MAX, |seconds| (i64::from(seconds) + 1) * 1_000_000)
}

/// A binlog's head; none if it cannot be read, which is found again by whoever receives the file.
async fn head(dsn: &Dsn, file: &str) -> Result<Option<Head>, StreamError> {
    let request = DumpRequest { file, position: MAGIC.len() as u32, follower: None };
    let mut dump = Dump::open(dsn, &request).await?;
    let mut scanner = Scanner::new();
    let mut fed = feed(&mut scanner, &MAGIC);
    let mut is_first = true;
    while fed.is_ok() && scanner.head().is_none() {
        let header = match dump.next().await {
            Err(DumpError::Refused { number: CANNOT_SEND, .. }) | Ok(None) => return Ok(None),
            Ok(Some(header)) => header,
            Err(error) => return Err(error.into()),
        };
        // The announcement of the file itself.
        if std::mem::take(&mut is_first) {
            continue;
        }
        fed = feed(&mut scanner, &header.to_bytes());
        loop {
            let body = dump.body().await?;
            if body.is_empty() || fed.is_err() {
                break;
            }
            fed = feed(&mut scanner, body);
        }
    }
    Ok(scanner.head().cloned())
}

fn feed(scanner: &mut Scanner, bytes: &[u8]) -> Result<(), ScanError> {
    scanner.feed(bytes, &mut |_| {})
}
