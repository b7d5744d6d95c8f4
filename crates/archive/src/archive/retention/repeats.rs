//! `dedupe: gtid`: what replicas only say again is stored as what differs from another server's log.
//!
//! ```text
//! whole segment, a grace old ─ another server's segments have its transactions ─▶ repeat ─ page ─ a grace later ─▶ the sweep
//! ```
//! Every pod archives its own log as a whole first, so a failover finds nothing missing. A repeat gives the segment's own bytes back,
//! which is tried before it is stored: positions, GTIDs and hashes stay what they are, and no reader sees a difference. What a
//! repeat is told by stays for as long as the repeat does ([`pitr_recovery::KeepReason::Repeated`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use pitr_binlog::{GtidSet, TransactionFlags};

use super::is_past;
use crate::archive::pages::Begun;
use crate::archive::records::range_of;
use crate::archive::{Archive, ArchiveError, compute, locked};
use crate::digest::ShortHash;
use crate::expiry::Marks;
use crate::layout::{ObjectKey, Place, SegmentKey};
use crate::seal::Identities;
use crate::segment::{
    HeaderCodec, HeldSet, REPEATED_BYTES_MAX, RepeatOf, Repeated, SegmentRecord, Stamp, encode_repeat, index_of,
    raw_bytes, read_header,
};
use crate::store::ObjectClass;

/// Segments in one page of repeats: a crash then repeats little.
const PAGE_SEGMENTS: usize = 32;

/// A run stores repeats for so long, and then names the last of them: what is stored and never named is stored again.
const STORES_FOR: Duration = Duration::from_secs(30 * 60);

/// A repeat is worth while when it takes at most one part of this many of what it stands for.
const WORTH_PART: u64 = 2;

/// A segment is compared with at most so many times its own bytes: it bounds what a run holds in memory.
const COMPARED_PART: u64 = 3;

/// The tables of a compressor that looks so far back.
const TABLE_BYTES: u64 = 12 << 20;

/// No segment takes more memory than this to be compared: those of `pipeline.segment_bytes: 8MiB` take about 45 MiB.
const WORKING_BYTES_MAX: u64 = 192 << 20;

/// Segments that are remembered as not worth while; beyond that, they are tried again.
const UNLIKE_MAX: usize = 100_000;

/// What a run of `dedupe: gtid` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Deduped {
    /// Segments that are stored as repeats since this run.
    pub repeats: u64,
    /// Their stored bytes as they were.
    pub whole_bytes: u64,
    /// Their stored bytes now.
    pub stored_bytes: u64,
    /// Segments with the transactions of another server's log, but not nearly its bytes: they stay as they are.
    pub unlike: u64,
    /// Whether there was time for all of them. The next run goes on.
    pub finished: bool,
}

/// What whoever reads segments of the archive in passing may take in memory: a run of `dedupe: gtid`, a sweep.
pub struct Workspace<'a> {
    /// Bytes for one segment at most, whatever it is compared with: one that takes more is not made a repeat.
    pub bytes: u64,
    /// Waits for them; what it gives is held until the segment is done.
    pub room: &'a (dyn Fn() -> BoxFuture<'a, Box<dyn Send>> + Send + Sync),
}

impl fmt::Debug for Workspace<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Workspace").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Workspace<'_> {
    /// Enough for every segment, for whoever does nothing else meanwhile.
    pub const ENOUGH: Self =
        Self { bytes: WORKING_BYTES_MAX, room: &|| Box::pin(async { Box::new(()) as Box<dyn Send> }) };
}

impl Archive {
    /// Stores segments that are older than the grace and say again what another server's log says as what differs from it. The
    /// whole segments go with a later [`Self::sweep`]. To be repeated now and then; a run that dies at any point loses nothing.
    ///
    /// # Errors
    /// What the store answers.
    pub async fn dedupe(&self, grace: Duration, space: &Workspace<'_>) -> Result<Deduped, ArchiveError> {
        let begun = self.begin();
        let now = self.store_time().await?;
        // Marks first (T): what had none then is not deleted before a plan has seen the repeats that this run writes.
        let (marks, problems) = self.read_marks().await?;
        let mut done = Deduped { finished: true, ..Deduped::default() };
        if !problems.is_empty() {
            return Ok(Deduped::default());
        }
        let logs = self.whole_segments(&marks, (grace, now)).await?;
        let mut page = Vec::new();
        for whole in in_turn(&logs, now) {
            // In time to name what is stored already.
            if self.is_past(begun, STORES_FOR) {
                done.finished = false;
                break;
            }
            // Most are looked at without a request: others have their turn all the same.
            tokio::task::yield_now().await;
            let key = whole.key.to_string();
            if !is_candidate(whole) || locked(&self.unlike).contains(&key) {
                continue;
            }
            let Some(others) = best_match(whole, &logs) else { continue };
            let _room = (space.room)().await;
            match self.repeat(whole, &others, space.bytes).await? {
                Some(record) => {
                    done.repeats += 1;
                    done.whole_bytes += whole.length;
                    done.stored_bytes += record.length;
                    page.push(record);
                }
                None => {
                    done.unlike += 1;
                    let mut unlike = locked(&self.unlike);
                    if unlike.len() < UNLIKE_MAX {
                        unlike.insert(key);
                    }
                }
            }
            if page.len() == PAGE_SEGMENTS {
                done.finished &= self.name_repeats(&mut page, begun).await?;
            }
        }
        done.finished &= self.name_repeats(&mut page, begun).await?;
        Ok(done)
    }

    /// Names repeats in the catalog, unless the marks that this run has read are too old by now (T). Another run may have been faster: two
    /// repeats of one range would both stay for as long as that does, and one that no page names goes.
    async fn name_repeats(&self, page: &mut Vec<SegmentRecord>, begun: Begun) -> Result<bool, ArchiveError> {
        let sources: BTreeSet<String> = page.iter().map(|record| record.key.binlog.source.clone()).collect();
        for source in sources {
            let named = self.discover_catalogued(Some(&source)).await?.catalogued;
            let repeats = named.iter().filter(|record| record.header.repeat().is_some());
            let told: BTreeSet<_> = repeats.map(range_of).collect();
            page.retain(|record| !told.contains(&range_of(record)));
        }
        if self.is_late(begun) {
            return Ok(false);
        }
        self.write_page(page).await?;
        page.clear();
        Ok(true)
    }

    /// Catalogued segments that are there as a whole, unmarked and in clear, and older than the grace: by source.
    async fn whole_segments(
        &self,
        marks: &Marks,
        (grace, now): (Duration, Timestamp),
    ) -> Result<BTreeMap<String, Log>, ArchiveError> {
        let mut old: BTreeSet<SegmentKey> = BTreeSet::new();
        for object in self.store.list(Place::Binlogs.prefix()).await? {
            if let Ok(ObjectKey::Segment(key)) = object.key.parse()
                && is_past(object.modified, grace, now)
            {
                old.insert(key);
            }
        }
        let mut logs: BTreeMap<String, Log> = BTreeMap::new();
        for record in self.discover_catalogued(None).await?.catalogued {
            let is_whole = matches!(record.header.codec, HeaderCodec::Known(_)) && record.header.recipients.is_empty();
            if is_whole && old.contains(&record.key) && !marks.binlogs.contains_key(&record.key.binlog) {
                logs.entry(record.key.binlog.source.clone()).or_default().records.push(record);
            }
        }
        logs.values_mut().for_each(Log::arrange);
        Ok(logs)
    }

    /// Stores one segment as what differs from others. None: it is not worth while, or takes more memory than there is, or one of them
    /// is gone or cannot be read.
    async fn repeat(
        &self,
        whole: &SegmentRecord,
        others: &[&SegmentRecord],
        space: u64,
    ) -> Result<Option<SegmentRecord>, ArchiveError> {
        let HeldSet::Whole(gtids) = &whole.header.transactions.gtids else { return Ok(None) };
        let mut of = Vec::new();
        for other in others {
            let Some((_, entries)) = usable(self.read_segment_index(&other.key).await)? else { return Ok(None) };
            let mut same = entries.iter().filter(|entry| entry.gtid.is_some_and(|gtid| gtids.contains(&gtid)));
            let Some(first) = same.next() else { continue };
            let (from, to) = (first.start.max(other.key.start), same.next_back().unwrap_or(first).end);
            of.push(RepeatOf { key: other.key.clone(), raw_sha256: other.header.raw_sha256, from, to });
        }
        let bytes: u64 = of.iter().map(|piece| piece.to - piece.from).sum();
        let most = REPEATED_BYTES_MAX.min(COMPARED_PART * (whole.key.end - whole.key.start));
        if of.is_empty() || bytes > most || working_bytes(whole, others, bytes) > space {
            return Ok(None);
        }
        let mut repeated = Repeated::of_length(bytes);
        for piece in &of {
            let Some(fetched) = usable(self.fetch_segment(&piece.key).await)? else { return Ok(None) };
            if repeated.add(piece, &fetched.raw, &whole.header.checksum).is_none() {
                return Ok(None);
            }
        }
        let Some(object) =
            usable(self.fetch_matching(&whole.key.to_string(), |b| ShortHash::of(b) == whole.key.hash).await)?
        else {
            return Ok(None);
        };
        let stamp = Stamp { written_at: self.now(), writer: self.writer().to_owned() };
        let copied = whole.clone();
        let Some((object, record)) = compute(move || proven(&copied, &object, (of, &repeated), stamp)).await? else {
            return Ok(None);
        };
        self.store.put(&record.key.to_string(), object, ObjectClass::Content).await?;
        self.remember(&record);
        Ok(Some(record))
    }
}

/// The repeat of a whole segment, if it is worth while and gives the same bytes back. CPU-bound.
fn proven(
    whole: &SegmentRecord,
    object: &Bytes,
    (of, repeated): (Vec<RepeatOf>, &Repeated),
    stamp: Stamp,
) -> Option<(Bytes, SegmentRecord)> {
    // The line of the catalog may only identify a long set: a header has all of it.
    let header = read_header(object, &whole.key).ok().filter(|own| own.raw_sha256 == whole.header.raw_sha256)?;
    let whole = SegmentRecord { header: header.into(), ..whole.clone() };
    let parts = &whole.header.parts;
    let index = object.get(usize::try_from(parts.index_at).ok()?..usize::try_from(parts.payload_at).ok()?)?;
    let (raw, _) = raw_bytes(&whole.header, object, None, &Identities::default()).ok()?;
    let (stored, record) = encode_repeat(&whole, index, raw, (of, repeated), stamp).ok()?;
    if record.length * WORTH_PART > whole.length {
        return None;
    }
    // As a reader sees it: to the hash of the bytes that the server wrote.
    let header = read_header(&stored, &record.key).ok()?;
    index_of(&header, &stored).ok()??;
    raw_bytes(&header, &stored, Some(repeated), &Identities::default()).ok()?;
    (header == *record.header && header.raw_sha256 == whole.header.raw_sha256).then_some((stored, record))
}

/// All segments that another server's log may tell, from another one on in each run: a run that knows nothing of those before it and has
/// no time for all of them has had each in the end.
fn in_turn(logs: &BTreeMap<String, Log>, now: Timestamp) -> impl Iterator<Item = &SegmentRecord> {
    let mut all: Vec<&SegmentRecord> = logs.values().skip(1).flat_map(|log| &log.records).collect();
    let first = usize::try_from(now.as_second()).unwrap_or(0) % all.len().max(1);
    all.rotate_left(first);
    all.into_iter()
}

/// What it takes in memory to compare a segment with so many bytes of others: those, its own twice over or one of the others', its object,
/// and the compressor's tables.
fn working_bytes(whole: &SegmentRecord, others: &[&SegmentRecord], compared: u64) -> u64 {
    let raw = |record: &SegmentRecord| record.key.end - record.key.start;
    let other = others.iter().map(|other| other.length + raw(other)).max().unwrap_or(0);
    compared + whole.length + other.max(2 * raw(whole)) + TABLE_BYTES
}

/// What is gone, damaged or withheld is left alone.
fn usable<T>(read: Result<T, ArchiveError>) -> Result<Option<T>, ArchiveError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.is_not_found() || error.unusable().is_some() => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whole segments of one source, by commit time.
#[derive(Default)]
struct Log {
    records: Vec<SegmentRecord>,
    /// The latest commit time of each segment and all before it.
    latest: Vec<i64>,
}

impl Log {
    fn arrange(&mut self) {
        self.records.sort_by_key(|record| (record.header.transactions.min_commit_us, record.key.clone()));
        let mut latest = i64::MIN;
        let reached = |record: &SegmentRecord| {
            latest = latest.max(record.header.transactions.max_commit_us);
            latest
        };
        self.latest = self.records.iter().map(reached).collect();
    }

    /// Segments with some of these transactions, and how many they have. A transaction has one commit time on all servers.
    fn with(&self, whole: &SegmentRecord, gtids: &GtidSet) -> (u64, Vec<&SegmentRecord>) {
        let of = &whole.header.transactions;
        let from = self.latest.partition_point(|latest| *latest < of.min_commit_us);
        let to = self.records.partition_point(|record| record.header.transactions.min_commit_us <= of.max_commit_us);
        let mut count = 0;
        let mut found: Vec<&SegmentRecord> = Vec::new();
        for record in self.records.get(from..to).unwrap_or_default() {
            let HeldSet::Whole(held) = &record.header.transactions.gtids else { continue };
            let same = held.intersect(gtids).count();
            if same > 0 && !is_rewritten(record) && !found.iter().any(|known| is_same_range(known, record)) {
                count += same;
                found.push(record);
            }
        }
        found.sort_by(|a, b| (&a.key.binlog, a.key.start).cmp(&(&b.key.binlog, b.key.start)));
        (count, found)
    }
}

fn is_same_range(a: &SegmentRecord, b: &SegmentRecord) -> bool {
    (&a.key.binlog, a.key.start, a.key.end) == (&b.key.binlog, b.key.start, b.key.end)
}

/// Whether another server's bytes may tell a segment: it has whole transactions, and numbers that name them.
fn is_candidate(record: &SegmentRecord) -> bool {
    let transactions = &record.header.transactions;
    transactions.count > 0 && transactions.without_gtid == 0 && !is_rewritten(record)
}

/// What servers compress themselves, each compresses anew: its bytes are not alike.
fn is_rewritten(record: &SegmentRecord) -> bool {
    record.header.transactions.flags.contains(TransactionFlags::PAYLOAD)
}

/// The segments of one server whose name comes before (T), and which has at least half of these transactions.
fn best_match<'a>(whole: &SegmentRecord, logs: &'a BTreeMap<String, Log>) -> Option<Vec<&'a SegmentRecord>> {
    let HeldSet::Whole(gtids) = &whole.header.transactions.gtids else { return None };
    let before = logs.range(..whole.key.binlog.source.clone());
    // Of those that have as many, the first: then all others are told by one server's log.
    let found =
        before.map(|(_, log)| log.with(whole, gtids)).reduce(|best, next| if next.0 > best.0 { next } else { best });
    found.filter(|(count, records)| 2 * count >= gtids.count() && !records.is_empty()).map(|(_, records)| records)
}
