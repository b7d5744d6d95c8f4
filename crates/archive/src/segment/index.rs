//! The transaction index of a segment: one entry per transaction, as columns of delta varints, zstd-compressed.
//!
//! ```text
//! 1 byte   version (1)
//! varint   number of entries, number of GTID sources
//! sources  kind (1 MySQL, 2 MySQL with tag, 3 MariaDB), then UUID, UUID + length + tag, or domain + server id
//! columns  source (0: no GTID, else place in the list + 1)
//!          number (difference to the source's last)
//!          commit time in µs (difference to the entry before)
//!          immediate commit time (0: unknown, else 1 + zigzag difference to the commit time)
//!          start (difference to the end of the entry before), length
//!          flags, shifted by one; the lowest bit: the commit time is only known to the second
//! varint   number of XIDs, then for each: entry (difference to the last), 8 bytes of hash
//! ```
//! Versions after 1 may add columns at the end, which a reader of version 1 passes over.

use std::collections::HashMap;

use pitr_binlog::{Gtid, GtidSource, Tag, Transaction, TransactionFlags, Uuid};

use super::codec::{Codec, decompress};
use super::varint::{self, Column, Malformed};

const VERSION: u8 = 1;

/// The largest index that is read, decompressed.
pub(crate) const INDEX_BYTES_MAX: usize = 64 << 20;

/// No entry takes fewer bytes than it has columns.
const ENTRY_BYTES_MIN: usize = 7;

const MYSQL: u8 = 1;
const MYSQL_TAGGED: u8 = 2;
const MARIADB: u8 = 3;

/// What the index says of one transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexedTransaction {
    /// Its GTID; none in logs without GTIDs.
    pub gtid: Option<Gtid>,
    /// Its commit time: original, else immediate, else the header's second.
    pub commit_us: i64,
    /// When it was committed on the server that wrote the log, if known.
    pub immediate_us: Option<i64>,
    /// First byte in the raw file.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// What is in it.
    pub flags: TransactionFlags,
    /// The commit time is only known to the second.
    pub whole_second: bool,
    /// Hash of the XID of an XA transaction.
    pub xid: Option<u64>,
}

impl From<&Transaction> for IndexedTransaction {
    fn from(transaction: &Transaction) -> Self {
        Self {
            gtid: transaction.gtid,
            commit_us: transaction.commit_us(),
            immediate_us: transaction.immediate_commit_us,
            start: transaction.start,
            end: transaction.end,
            flags: transaction.flags,
            whole_second: transaction.is_whole_second(),
            xid: transaction.xid,
        }
    }
}

/// Writes the index of transactions that lie in a segment starting at `origin`.
pub(super) fn encode<'a>(
    origin: u64,
    transactions: impl ExactSizeIterator<Item = &'a IndexedTransaction>,
) -> Result<Vec<u8>, super::CodecError> {
    let count = transactions.len();
    let mut writer = Writer::default();
    let mut position = origin;
    let mut commit_us = 0;
    for (place, entry) in transactions.enumerate() {
        writer.push(entry, position, commit_us, place);
        (position, commit_us) = (entry.end, entry.commit_us);
    }
    let plain = writer.finish(count);
    Codec::default().for_length(plain.len()).compress_onto(&plain, Vec::new())
}

#[derive(Default)]
struct Writer {
    sources: Vec<GtidSource>,
    places: HashMap<GtidSource, usize>,
    last_numbers: Vec<u64>,
    columns: [Vec<u8>; 7],
    xids: Vec<(usize, u64)>,
}

impl Writer {
    fn push(&mut self, entry: &IndexedTransaction, position: u64, commit_us: i64, place: usize) {
        let source = entry.gtid.map(|gtid| self.place_of(gtid.source));
        let [sources, numbers, commits, immediates, starts, lengths, flags] = &mut self.columns;
        varint::put(sources, source.map_or(0, |source| source as u64 + 1));
        match (source, entry.gtid) {
            (Some(source), Some(gtid)) => {
                varint::put_delta(numbers, gtid.number, self.last_numbers[source]);
                self.last_numbers[source] = gtid.number;
            }
            _ => varint::put(numbers, 0),
        }
        varint::put_signed(commits, entry.commit_us.wrapping_sub(commit_us));
        match entry.immediate_us {
            None => varint::put(immediates, 0),
            // One is added after the zigzag, so a difference of i64::MIN would not fit: such a time is unknown.
            Some(us) => {
                let mut zigzag = Vec::new();
                varint::put_signed(&mut zigzag, us.wrapping_sub(entry.commit_us));
                let value = Column::new(&zigzag).number().unwrap_or(u64::MAX);
                varint::put(immediates, value.checked_add(1).unwrap_or(0));
            }
        }
        varint::put_delta(starts, entry.start, position);
        varint::put(lengths, entry.end.saturating_sub(entry.start));
        varint::put(flags, u64::from(entry.flags.bits()) << 1 | u64::from(entry.whole_second));
        if let Some(xid) = entry.xid {
            self.xids.push((place, xid));
        }
    }

    fn place_of(&mut self, source: GtidSource) -> usize {
        *self.places.entry(source).or_insert_with(|| {
            self.sources.push(source);
            self.last_numbers.push(0);
            self.sources.len() - 1
        })
    }

    fn finish(self, count: usize) -> Vec<u8> {
        let mut out = vec![VERSION];
        varint::put(&mut out, count as u64);
        varint::put(&mut out, self.sources.len() as u64);
        for source in &self.sources {
            put_source(&mut out, source);
        }
        for column in self.columns {
            out.extend_from_slice(&column);
        }
        varint::put(&mut out, self.xids.len() as u64);
        let mut before = 0;
        for (place, xid) in self.xids {
            varint::put(&mut out, (place - before) as u64);
            out.extend_from_slice(&xid.to_le_bytes());
            before = place;
        }
        out
    }
}

fn put_source(out: &mut Vec<u8>, source: &GtidSource) {
    match source {
        GtidSource::MySql { uuid, tag: None } => {
            out.push(MYSQL);
            out.extend_from_slice(&uuid.0);
        }
        GtidSource::MySql { uuid, tag: Some(tag) } => {
            out.push(MYSQL_TAGGED);
            out.extend_from_slice(&uuid.0);
            varint::put(out, tag.as_str().len() as u64);
            out.extend_from_slice(tag.as_str().as_bytes());
        }
        GtidSource::MariaDb { domain, server_id } => {
            out.push(MARIADB);
            varint::put(out, u64::from(*domain));
            varint::put(out, u64::from(*server_id));
        }
    }
}

/// Reads an index. `None`: the bytes are no index.
pub(super) fn decode(compressed: &[u8], origin: u64) -> Option<Vec<IndexedTransaction>> {
    let plain = decompress(compressed, INDEX_BYTES_MAX).ok()?;
    read(&plain, origin).ok()
}

fn read(plain: &[u8], origin: u64) -> Result<Vec<IndexedTransaction>, Malformed> {
    let mut bytes = Column::new(plain);
    if bytes.array()? == [0] {
        return Err(Malformed);
    }
    let count = bytes.length()?;
    let source_count = bytes.length()?;
    // Checked before anything is reserved by them.
    if count > plain.len() / ENTRY_BYTES_MIN || source_count > plain.len() {
        return Err(Malformed);
    }
    let sources = (0..source_count).map(|_| read_source(&mut bytes)).collect::<Result<Vec<_>, _>>()?;
    let gtids = read_gtids(&mut bytes, &sources, count)?;
    let mut commit_us = 0_i64;
    let commits: Vec<i64> = read_column(count, || {
        commit_us = commit_us.wrapping_add(bytes.signed()?);
        Ok(commit_us)
    })?;
    let immediates = read_column(count, || bytes.number())?;
    let starts = read_column(count, || bytes.signed())?;
    let lengths = read_column(count, || bytes.number())?;
    let flags = read_column(count, || bytes.number())?;
    let mut entries = Vec::with_capacity(count);
    let mut position = origin;
    for place in 0..count {
        let start = position.wrapping_add(starts[place].cast_unsigned());
        position = start.checked_add(lengths[place]).ok_or(Malformed)?;
        entries.push(IndexedTransaction {
            gtid: gtids[place],
            commit_us: commits[place],
            immediate_us: immediate(immediates[place], commits[place]),
            start,
            end: position,
            flags: TransactionFlags::from_bits(u16::try_from(flags[place] >> 1).map_err(|_| Malformed)?),
            whole_second: flags[place] & 1 == 1,
            xid: None,
        });
    }
    let mut place = 0_usize;
    for _ in 0..bytes.length()? {
        place = place.checked_add(bytes.length()?).ok_or(Malformed)?;
        let xid = u64::from_le_bytes(bytes.array()?);
        entries.get_mut(place).ok_or(Malformed)?.xid = Some(xid);
    }
    Ok(entries)
}

fn read_column<T>(count: usize, mut next: impl FnMut() -> Result<T, Malformed>) -> Result<Vec<T>, Malformed> {
    let mut column = Vec::with_capacity(count);
    for _ in 0..count {
        column.push(next()?);
    }
    Ok(column)
}

fn read_gtids(bytes: &mut Column<'_>, sources: &[GtidSource], count: usize) -> Result<Vec<Option<Gtid>>, Malformed> {
    let places = read_column(count, || bytes.length())?;
    let mut last_numbers = vec![0_u64; sources.len()];
    places
        .into_iter()
        .map(|place| {
            let Some(place) = place.checked_sub(1) else {
                return bytes.number().map(|_| None);
            };
            let source = *sources.get(place).ok_or(Malformed)?;
            let number = bytes.delta(last_numbers[place])?;
            last_numbers[place] = number;
            Ok(Some(Gtid { source, number }))
        })
        .collect()
}

fn immediate(value: u64, commit_us: i64) -> Option<i64> {
    let zigzag = value.checked_sub(1)?;
    let difference = (zigzag >> 1).cast_signed() ^ -(zigzag & 1).cast_signed();
    Some(commit_us.wrapping_add(difference))
}

fn read_source(bytes: &mut Column<'_>) -> Result<GtidSource, Malformed> {
    let id = |number: u64| u32::try_from(number).map_err(|_| Malformed);
    match bytes.array()? {
        [MYSQL] => Ok(GtidSource::MySql { uuid: Uuid(bytes.array()?), tag: None }),
        [MYSQL_TAGGED] => {
            let uuid = Uuid(bytes.array()?);
            let length = bytes.length()?;
            let text = std::str::from_utf8(bytes.take(length)?).map_err(|_| Malformed)?;
            Ok(GtidSource::MySql { uuid, tag: Some(Tag::parse(text).map_err(|_| Malformed)?) })
        }
        [MARIADB] => Ok(GtidSource::MariaDb { domain: id(bytes.number()?)?, server_id: id(bytes.number()?)? }),
        _ => Err(Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn source() -> impl Strategy<Value = GtidSource> {
        prop_oneof![
            (0..3_u8).prop_map(|n| GtidSource::MySql { uuid: Uuid([n; 16]), tag: None }),
            (0..2_u8).prop_map(|n| GtidSource::MySql { uuid: Uuid([n; 16]), tag: Some(Tag::parse("blue").unwrap()) }),
            (0..3_u32, any::<u32>()).prop_map(|(domain, server_id)| GtidSource::MariaDb { domain, server_id }),
        ]
    }

    /// GTID, commit time, immediate time's difference, gap and length, flags, XID.
    type EntryParts = (Option<(GtidSource, u64)>, i64, Option<i64>, (u64, u64), u16, Option<u64>);

    fn entry() -> impl Strategy<Value = EntryParts> {
        (
            prop::option::of((source(), 1..u64::MAX)),
            any::<i64>(),
            // The one time that cannot be told from an unknown one is half of all time away.
            prop::option::of(-1_000_000_000_000_000_i64..1_000_000_000_000_000),
            (0..1000_u64, 1..1_u64 << 40),
            any::<u16>(),
            prop::option::of(any::<u64>()),
        )
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(origin in 0..1_u64 << 50, parts in prop::collection::vec(entry(), 0..50)) {
            let mut position = origin;
            let entries: Vec<IndexedTransaction> = parts.into_iter().map(|(gtid, commit_us, immediate, (gap, length), flags, xid)| {
                let start = position + gap;
                position = start + length;
                IndexedTransaction {
                    gtid: gtid.map(|(source, number)| Gtid { source, number }),
                    commit_us,
                    immediate_us: immediate.map(|difference| commit_us.wrapping_add(difference)),
                    start,
                    end: position,
                    flags: TransactionFlags::from_bits(flags),
                    whole_second: flags % 3 == 0,
                    xid,
                }
            }).collect();
            let encoded = encode(origin, entries.iter()).unwrap();
            prop_assert_eq!(decode(&encoded, origin), Some(entries));
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes, 0);
        }
    }

    #[test]
    fn a_count_that_lies_reserves_nothing() {
        let mut bytes = vec![VERSION];
        varint::put(&mut bytes, u64::MAX / 2);
        varint::put(&mut bytes, 0);
        assert!(read(&bytes, 0).is_err());
    }

    #[test]
    fn an_entry_takes_a_few_bytes() {
        let uuid = Uuid([7; 16]);
        let entries: Vec<_> = (0..50_000_u64)
            .map(|n| IndexedTransaction {
                gtid: Some(Gtid { source: GtidSource::MySql { uuid, tag: None }, number: n + 1 }),
                commit_us: 1_700_000_000_000_000 + (n * 977).cast_signed(),
                immediate_us: Some(1_700_000_000_000_000 + (n * 977).cast_signed()),
                start: 200 + n * 350,
                end: 200 + (n + 1) * 350,
                flags: TransactionFlags::NONE,
                whole_second: false,
                xid: None,
            })
            .collect();
        let encoded = encode(200, entries.iter()).unwrap();
        assert!(encoded.len() < 50_000 * 4, "{}", encoded.len());
    }
}
