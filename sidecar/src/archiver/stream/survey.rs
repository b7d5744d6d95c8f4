//! Which of the server's binlogs are archived already, without receiving them: their heads say which ones they are.

use std::collections::BTreeSet;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use pitr_archive::ShortHash;
use pitr_binlog::{BinlogName, MAGIC, ScanError, Scanner};
use pitr_recovery::BinlogId;

use super::failure::StreamError;
use crate::archiver::Pipeline;
use crate::mysql::{Dsn, Dump, DumpRequest, ListedBinlog};
use crate::status;

/// Connections that read heads at once.
const AT_ONCE: usize = 4;

/// The closed binlogs of the list that need not be received.
pub(super) async fn archived(
    pipeline: &Pipeline,
    (dsn, source): (&Dsn, &str),
    closed: &[ListedBinlog],
) -> Result<BTreeSet<String>, StreamError> {
    // Of a number that nobody archived nothing need be asked.
    let numbers: BTreeSet<u64> = {
        let ledger = pipeline.ledger();
        ledger
            .inventory()
            .binlogs
            .iter()
            .filter(|known| known.id.source == source)
            .map(|known| known.id.number)
            .collect()
    };
    let number = |log: &ListedBinlog| BinlogName::parse(&log.name).ok().map(|name| name.number());
    let asked = closed.iter().filter_map(|log| number(log).filter(|number| numbers.contains(number)).zip(Some(log)));
    let looked = stream::iter(asked).map(|(number, log)| async move {
        let head = head(dsn, &log.name).await?;
        status::tick();
        let id = head.map(|head| BinlogId { source: source.to_owned(), number, head });
        let is_done = |id: &BinlogId| pipeline.is_expired(id) || pipeline.ledger().progress(id).is_done(log.bytes);
        Ok::<_, StreamError>(id.filter(is_done).map(|_| log.name.clone()))
    });
    looked.buffered(AT_ONCE).try_filter_map(async |name| Ok(name)).try_collect().await
}

/// The hash of a binlog's head; none if it cannot be read, which is found again by whoever receives the file.
async fn head(dsn: &Dsn, file: &str) -> Result<Option<[u8; 8]>, StreamError> {
    let request = DumpRequest { file, position: MAGIC.len() as u32, follower: None };
    let mut dump = Dump::open(dsn, &request).await?;
    let mut scanner = Scanner::new();
    let mut fed = feed(&mut scanner, &MAGIC);
    let mut is_first = true;
    while fed.is_ok() && scanner.head().is_none() {
        let Some(header) = dump.next().await? else { return Ok(None) };
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
    Ok(scanner.head().map(|head| ShortHash::of(&head.bytes).0))
}

fn feed(scanner: &mut Scanner, bytes: &[u8]) -> Result<(), ScanError> {
    scanner.feed(bytes, &mut |_| {})
}
