//! Archived binlogs as a document: `GET /v1/binlogs`.

use std::collections::BTreeMap;
use std::sync::Arc;

use pitr_binlog::GtidSet;
use pitr_recovery::{ArchivedBinlog, BinlogId, Closed, RangeKind, Timeline};
use serde::{Deserialize, Serialize};

use super::page::{Page, cut};
use super::{API_VERSION, Instant, SCHEMA_VERSION};

/// Archived binlogs of a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinlogsDocument {
    /// `kubectl-pitr/v1`
    pub api_version: String,
    /// `BinlogList`
    pub kind: String,
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// By source and number.
    pub items: Vec<BinlogItem>,
    /// There are more: `cursor` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// What is archived of one binlog.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BinlogItem {
    /// Its name.
    pub binlog: String,
    /// The server.
    pub source: String,
    /// The stream that it belongs to.
    pub stream: Option<String>,
    /// The least commit time in it.
    pub first_at: Option<Instant>,
    /// The greatest commit time in it.
    pub last_at: Option<Instant>,
    /// How many transactions.
    pub transactions: u64,
    /// The bytes from its beginning that are archived; more where it has a hole.
    pub archived_to: u64,
    /// Bytes of its objects as they are stored.
    pub stored_bytes: u64,
    /// `open`, `rotated`, `stopped`, `crashed` or `damaged`.
    pub state: String,
    /// What is wrong in it.
    pub damage: Option<String>,
    /// Its GTIDs.
    pub gtid_set: String,
    /// Its objects, by offset.
    pub segments: Vec<SegmentItem>,
}

/// Bytes of a binlog as one object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SegmentItem {
    /// Its key in the archive.
    pub key: String,
    /// First byte.
    pub start: u64,
    /// Byte after the last one.
    pub end: u64,
    /// Bytes as they are stored.
    pub stored_bytes: u64,
    /// Whether it was shipped while the server was still writing.
    pub tail: bool,
}

/// Which binlogs are wanted. What is `None` asks for nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BinlogFilter {
    /// With a transaction committed at this instant or later.
    pub from_us: Option<i64>,
    /// With a transaction committed at this instant or earlier.
    pub to_us: Option<i64>,
    /// Of the server whose name begins so.
    pub source: Option<String>,
    /// With any of these transactions.
    pub gtids: Option<GtidSet>,
}

impl BinlogFilter {
    fn wants(&self, binlog: &ArchivedBinlog) -> bool {
        let with = || binlog.ranges.iter().filter(|range| range.transactions > 0);
        self.source.as_ref().is_none_or(|source| binlog.id.source.starts_with(source))
            && self.from_us.is_none_or(|us| with().any(|range| range.max_commit_us >= us))
            && self.to_us.is_none_or(|us| with().any(|range| range.min_commit_us <= us))
            && self.gtids.as_ref().is_none_or(|gtids| with().any(|range| !range.gtids.is_disjoint(gtids)))
    }
}

impl BinlogsDocument {
    /// All binlogs that are wanted.
    #[must_use]
    pub fn new(timeline: &Timeline, filter: &BinlogFilter) -> Self {
        let streams = streams(timeline);
        let items = wanted(timeline, filter).into_iter().map(|binlog| item(binlog, &streams)).collect();
        Self::of(items, None)
    }

    /// One page of them. `None`: its cursor is none of this list's.
    #[must_use]
    pub fn page(timeline: &Timeline, filter: &BinlogFilter, page: &Page) -> Option<Self> {
        let after = match &page.cursor {
            Some(text) => Some(place(text)?),
            None => None,
        };
        let streams = streams(timeline);
        let mut rest = wanted(timeline, filter);
        rest.retain(|binlog| after.as_ref().is_none_or(|after| binlog.id > *after));
        let (items, more) = cut(rest.iter().map(|binlog| item(binlog, &streams)), page.limit);
        let last = more.then(|| rest.get(items.len().checked_sub(1)?).map(|binlog| binlog.id.to_string())).flatten();
        Some(Self::of(items, last))
    }

    fn of(items: Vec<BinlogItem>, next: Option<String>) -> Self {
        Self {
            api_version: API_VERSION.to_owned(),
            kind: "BinlogList".to_owned(),
            schema_version: SCHEMA_VERSION,
            items,
            next,
        }
    }
}

fn wanted<'a>(timeline: &'a Timeline, filter: &BinlogFilter) -> Vec<&'a Arc<ArchivedBinlog>> {
    let mut binlogs: Vec<_> = timeline.inventory().binlogs.iter().filter(|binlog| filter.wants(binlog)).collect();
    binlogs.sort_by(|a, b| a.id.cmp(&b.id));
    binlogs
}

/// The stream of each binlog.
fn streams(timeline: &Timeline) -> BTreeMap<&BinlogId, &str> {
    let streams = timeline.streams().iter();
    streams.flat_map(|stream| stream.binlogs.iter().map(|binlog| (&binlog.id, stream.id.as_str()))).collect()
}

/// The binlog that a cursor names, whether or not it is still there.
fn place(cursor: &str) -> Option<BinlogId> {
    let (source, rest) = cursor.rsplit_once('/')?;
    let (number, head) = rest.split_once('-')?;
    let mut id = BinlogId { source: source.to_owned(), number: number.parse().ok()?, head: [0; 8] };
    hex::decode_to_slice(head, &mut id.head).ok()?;
    Some(id)
}

fn item(binlog: &ArchivedBinlog, streams: &BTreeMap<&BinlogId, &str>) -> BinlogItem {
    let mut segments: Vec<SegmentItem> = binlog
        .ranges
        .iter()
        .flat_map(|range| range.objects.iter().map(move |object| (range, object)))
        .map(|(range, object)| SegmentItem {
            key: object.key.clone(),
            start: range.start,
            end: range.end,
            stored_bytes: object.length,
            tail: range.kind == RangeKind::Tail,
        })
        .collect();
    segments.sort_by(|a, b| (a.start, a.end, &a.key).cmp(&(b.start, b.end, &b.key)));
    let with = || binlog.ranges.iter().filter(|range| range.transactions > 0);
    let gtids = with().fold(GtidSet::new(), |mut all, range| {
        all.union_with(&range.gtids);
        all
    });
    let lost: u64 = binlog.ranges.iter().filter(|range| !range.is_held()).map(|range| range.end - range.start).sum();
    BinlogItem {
        binlog: binlog.name.to_string(),
        source: binlog.id.source.clone(),
        stream: streams.get(&binlog.id).map(|stream| (*stream).to_owned()),
        first_at: with().map(|range| range.min_commit_us).min().map(Instant),
        last_at: with().map(|range| range.max_commit_us).max().map(Instant),
        transactions: distinct_transactions(binlog, &gtids),
        archived_to: binlog.ranges.iter().map(|range| range.end).max().unwrap_or(0),
        stored_bytes: segments.iter().map(|segment| segment.stored_bytes).sum(),
        state: match (&binlog.damage, &binlog.closed) {
            _ if lost > 0 => "damaged",
            (Some(_), _) => "damaged",
            (None, Closed::Open) => "open",
            (None, Closed::Rotated { .. }) => "rotated",
            (None, Closed::Stopped) => "stopped",
            (None, Closed::Crashed) => "crashed",
        }
        .to_owned(),
        damage: match &binlog.damage {
            Some(damage) => Some(format!("{} at offset {}", damage.reason, damage.offset)),
            None => (lost > 0).then(|| format!("{lost} bytes are lost in the archive: damaged, gone or withheld")),
        },
        gtid_set: gtids.to_string(),
        segments,
    }
}

/// Ranges may overlap (the tail over the rest), so GTIDs are counted; without them, the ranges that follow each other.
fn distinct_transactions(binlog: &ArchivedBinlog, gtids: &GtidSet) -> u64 {
    if !binlog.ranges.iter().any(|range| range.flags.anonymous) {
        return gtids.count();
    }
    let mut ranges: Vec<_> = binlog.ranges.iter().collect();
    ranges.sort_by_key(|range| (range.start, std::cmp::Reverse(range.end)));
    let (mut reached, mut transactions) = (0, 0);
    for range in ranges {
        if range.start >= reached {
            transactions += range.transactions;
            reached = range.end;
        }
    }
    transactions
}
