//! Finding transactions: those around a point, with which somebody finds the moment of an accident, and those that match a text.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use pitr_binlog::describe::Change;
use pitr_binlog::{BinlogName, Gtid, TransactionFlags};
use pitr_recovery::{BinlogId, IndexEntry, Stretch, Timeline};
use tokio::time::Instant;

use super::{Archive, ArchiveError, Description};
use crate::document::TimelineDocument;
use crate::layout::parse_binlog;

/// A search that has lasted this long gives what it has, and says where it goes on.
const SEARCHES_FOR: Duration = Duration::from_secs(8);

/// What is sought on one branch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Search {
    /// The branch.
    pub branch: String,
    /// Which transactions of it.
    pub sought: Sought,
}

/// Which transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sought {
    /// So many on either side of a point.
    Around(Point, usize),
    /// The newest of those that match.
    Matching(Matching),
}

/// A point in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Point {
    /// Before the first transaction that was committed later (microseconds since 1970): where a restore to this instant stops.
    Time(i64),
    /// Before this transaction.
    Before(Gtid),
}

/// What a transaction has to be like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matching {
    /// Its description has this text, whatever the case; `SCHEMA.TABLE` also finds a statement run in that schema.
    pub text: Option<String>,
    /// It is a statement that commits by itself: CREATE, ALTER, DROP, TRUNCATE, GRANT.
    pub ddl: bool,
    /// Committed at this instant or later.
    pub since_us: i64,
    /// Committed at this instant or earlier.
    pub until_us: i64,
    /// So many at most.
    pub limit: usize,
    /// Only what stands before this point: where an earlier search ended.
    pub below: Option<Resume>,
}

/// Where a search goes on: at transactions that end at or before an offset of a binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The binlog.
    pub binlog: BinlogId,
    /// The offset.
    pub end: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Found {
    /// In the order of the log.
    pub transactions: Vec<FoundTransaction>,
    /// How many of them stand before the point.
    pub before: usize,
    /// Transactions that nobody can describe: they may match or not.
    pub undescribed: u64,
    /// Where the search goes on; none when it is complete.
    pub resume: Option<Resume>,
    /// The commit time down to which it went.
    pub searched_to_us: Option<i64>,
}

/// One transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct FoundTransaction {
    /// When and where.
    pub entry: IndexEntry,
    /// The binlog.
    pub name: BinlogName,
    /// The server that wrote it.
    pub source: String,
    /// The stream.
    pub stream: String,
    /// What it did; none where nobody can tell.
    pub description: Option<Description>,
}

/// A transaction and the number of its stretch.
type Placed = (usize, IndexEntry);

impl Archive {
    /// Searches the log of a branch; none where a point's GTID, or the place to go on at, is not on it.
    ///
    /// # Errors
    /// What the store answers, or a range whose index cannot be read.
    pub async fn find_transactions(&self, timeline: &Timeline, search: &Search) -> Result<Option<Found>, ArchiveError> {
        let stretches = timeline.stretches(&search.branch);
        let searcher = Searcher { archive: self, timeline, stretches };
        match &search.sought {
            Sought::Around(point, count) => searcher.around(point, *count).await,
            Sought::Matching(matching) => searcher.matching(matching).await,
        }
    }
}

/// Why there is no timeline to tell.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// No branch, or several, have an id that begins so.
    #[error("no branch \"{0}\"")]
    NoBranch(String),
    /// The transaction, or the place at which the search was to go on, is not on the branch.
    #[error("it is not on branch {0}")]
    NotOnBranch(String),
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
}

impl Archive {
    /// A timeline as a document, with what is sought on a branch: the one whose id begins so, else the live one, else the first.
    ///
    /// # Errors
    /// [`SearchError`]
    pub async fn tell_timeline(
        &self,
        timeline: &Timeline,
        branch: Option<&str>,
        sought: Sought,
    ) -> Result<TimelineDocument, SearchError> {
        let branches = timeline.branches();
        let branch = match branch {
            Some(id) => {
                let mut known = branches.iter().filter(|known| known.id.starts_with(id));
                let (Some(only), None) = (known.next(), known.next()) else {
                    return Err(SearchError::NoBranch(id.to_owned()));
                };
                only.id.clone()
            }
            None => match branches.first() {
                Some(first) => first.id.clone(),
                None => return Ok(TimelineDocument::new(timeline, None, &Found::default())),
            },
        };
        let search = Search { branch, sought };
        match self.find_transactions(timeline, &search).await? {
            Some(found) => Ok(TimelineDocument::new(timeline, Some(&search.branch), &found)),
            None => Err(SearchError::NotOnBranch(search.branch)),
        }
    }
}

struct Searcher<'a> {
    archive: &'a Archive,
    timeline: &'a Timeline,
    stretches: Vec<Stretch>,
}

impl Searcher<'_> {
    async fn entries(&self, number: usize) -> Result<Vec<IndexEntry>, ArchiveError> {
        let stretch = &self.stretches[number];
        let binlogs = &self.timeline.inventory().binlogs;
        let ranges = binlogs.iter().filter(|b| b.id == stretch.range.binlog).flat_map(|b| &b.ranges);
        let known = ranges.filter(|r| r.start == stretch.range.start && r.raw_sha256 == stretch.range.raw_sha256);
        let objects: Vec<_> = known.flat_map(|range| range.objects.clone()).collect();
        let index = self.archive.read_index(&stretch.range, &objects).await?;
        Ok(self.timeline.transactions_of(stretch, &index).into_iter().cloned().collect())
    }

    async fn around(&self, point: &Point, count: usize) -> Result<Option<Found>, ArchiveError> {
        let Some((number, place)) = self.place_of(point).await? else { return Ok(None) };
        let mut found: Vec<Placed> = Vec::new();
        for earlier in (0..self.stretches.len().min(number + 1)).rev() {
            let mut entries = self.entries(earlier).await?;
            if earlier == number {
                entries.truncate(place);
            }
            let surplus = (entries.len() + found.len()).saturating_sub(count);
            found.splice(..0, entries.into_iter().skip(surplus).map(|entry| (earlier, entry)));
            if found.len() >= count {
                break;
            }
        }
        let before = found.len();
        for later in number..self.stretches.len() {
            let skip = if later == number { place } else { 0 };
            let wanted = before + count - found.len();
            found.extend(self.entries(later).await?.into_iter().skip(skip).take(wanted).map(|entry| (later, entry)));
            if found.len() >= before + count {
                break;
            }
        }
        let transactions = self.described(found).await?;
        Ok(Some(Found { transactions, before, ..Found::default() }))
    }

    /// The stretch that holds the first transaction behind a point, and its number there.
    async fn place_of(&self, point: &Point) -> Result<Option<(usize, usize)>, ArchiveError> {
        for (number, stretch) in self.stretches.iter().enumerate() {
            let may_hold = match point {
                Point::Time(us) => stretch.max_us > *us,
                Point::Before(gtid) => self.timeline.is_in(gtid, stretch),
            };
            if !may_hold {
                continue;
            }
            let is_behind = |entry: &IndexEntry| match point {
                Point::Time(us) => entry.commit_us > *us,
                Point::Before(gtid) => entry.gtid == Some(*gtid),
            };
            if let Some(place) = self.entries(number).await?.iter().position(is_behind) {
                return Ok(Some((number, place)));
            }
        }
        Ok(match point {
            Point::Time(_) => Some((self.stretches.len(), 0)),
            Point::Before(_) => None,
        })
    }

    async fn described(&self, found: Vec<Placed>) -> Result<Vec<FoundTransaction>, ArchiveError> {
        let mut transactions = Vec::with_capacity(found.len());
        for of_one in found.chunk_by(|(a, _), (b, _)| a == b) {
            let Some((number, _)) = of_one.first() else { continue };
            let entries: Vec<IndexEntry> = of_one.iter().map(|(_, entry)| entry.clone()).collect();
            transactions.extend(self.described_in(*number, entries).await?);
        }
        Ok(transactions)
    }

    async fn described_in(
        &self,
        number: usize,
        entries: Vec<IndexEntry>,
    ) -> Result<Vec<FoundTransaction>, ArchiveError> {
        let stretch = &self.stretches[number];
        let described = self.archive.describe_in(self.timeline.inventory(), &stretch.range, &entries).await?;
        let pairs = entries.into_iter().zip(described);
        Ok(pairs.map(|(entry, description)| transaction(stretch, entry, description)).collect())
    }

    async fn matching(&self, matching: &Matching) -> Result<Option<Found>, ArchiveError> {
        let begun = Instant::now();
        let mut found = Found::default();
        let mut below = matching.below.clone();
        for (number, stretch) in self.stretches.iter().enumerate().rev() {
            if below.as_ref().is_some_and(|at| at.binlog != stretch.range.binlog || stretch.start >= at.end) {
                continue;
            }
            let until = below.take().map(|at| at.end);
            if !matching.may_be_in(stretch) {
                continue;
            }
            let mut entries = self.entries(number).await?;
            entries.retain(|entry| until.is_none_or(|end| entry.end <= end) && matching.admits(entry));
            let mut described = self.described_in(number, entries).await?;
            found.undescribed += described.iter().filter(|t| t.description.is_none()).count() as u64;
            described.retain(|transaction| matching.fits(transaction));
            let surplus = (described.len() + found.transactions.len()).saturating_sub(matching.limit);
            let cut = surplus.checked_sub(1).and_then(|last| described.get(last)).map(|t| t.entry.end);
            found.transactions.splice(..0, described.into_iter().skip(surplus));
            found.searched_to_us = Some(found.searched_to_us.map_or(stretch.min_us, |us| us.min(stretch.min_us)));
            if cut.is_some() || found.transactions.len() >= matching.limit || begun.elapsed() > SEARCHES_FOR {
                let rest = cut.map(|end| Resume { binlog: stretch.range.binlog.clone(), end });
                found.resume = rest.or_else(|| self.next_below(number, matching));
                break;
            }
        }
        Ok(below.is_none().then_some(found))
    }

    /// The end of the nearest earlier stretch that can hold what is sought.
    fn next_below(&self, number: usize, matching: &Matching) -> Option<Resume> {
        let next = self.stretches[..number].iter().rfind(|stretch| matching.may_be_in(stretch))?;
        Some(Resume { binlog: next.range.binlog.clone(), end: next.end })
    }
}

impl Matching {
    fn may_be_in(&self, stretch: &Stretch) -> bool {
        let in_time = stretch.max_us >= self.since_us && stretch.min_us <= self.until_us;
        in_time && (!self.ddl || stretch.flags.contains(TransactionFlags::DDL))
    }

    fn admits(&self, entry: &IndexEntry) -> bool {
        (self.since_us..=self.until_us).contains(&entry.commit_us)
            && (!self.ddl || entry.flags.contains(TransactionFlags::DDL))
    }

    fn fits(&self, transaction: &FoundTransaction) -> bool {
        match (&self.text, &transaction.description) {
            (None, _) => true,
            (Some(text), Some(description)) => description.changes.iter().any(|change| has(change, text)),
            (Some(_), None) => false,
        }
    }
}

/// Whether a change says `text`, or is a statement in the schema that `SCHEMA.TABLE` names and says the rest.
fn has(change: &Change, text: &str) -> bool {
    let plain = |text: &str| text.replace('`', "").to_lowercase();
    let text = plain(text);
    match change {
        Change::Statement { schema, sql } => {
            let sql = plain(sql);
            let in_schema = text.split_once('.').is_some_and(|(of, rest)| of == plain(schema) && sql.contains(rest));
            sql.contains(&text) || in_schema
        }
        other => plain(&other.to_string()).contains(&text),
    }
}

fn transaction(stretch: &Stretch, entry: IndexEntry, description: Option<Description>) -> FoundTransaction {
    FoundTransaction {
        entry,
        name: stretch.name.clone(),
        source: stretch.range.binlog.source.clone(),
        stream: stretch.stream.clone(),
        description,
    }
}

/// `3e11fa47-…/0000000413-1f2e3d4c5b6a7988:48118450`
impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.binlog, self.end)
    }
}

/// Text that is no place to go on at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place at which a search goes on")]
pub struct NoResume;

impl FromStr for Resume {
    type Err = NoResume;

    fn from_str(text: &str) -> Result<Self, NoResume> {
        let parts = text.rsplit_once(':').and_then(|(binlog, end)| Some((binlog.split_once('/')?, end.parse().ok()?)));
        let ((source, binlog), end) = parts.ok_or(NoResume)?;
        Ok(Self { binlog: parse_binlog(source, binlog).ok_or(NoResume)?, end })
    }
}
