//! What stands behind the question mark. A word that is not known is refused: an answer to another question would be believed.

use std::collections::BTreeMap;

use pitr_archive::document::{BinlogFilter, Page};
use pitr_archive::{Archive, Matching, Point, SearchError, Sought};
use pitr_binlog::GtidSet;
use pitr_recovery::{TimeTarget, Timeline, code, parse_time};

use crate::archive_failure::of_archive;
use crate::error::Failure;

/// Transactions of one answer.
const TRANSACTIONS_MAX: usize = 1000;
/// Transactions on either side of a point unless the question says.
const TRANSACTIONS: usize = 5;

/// `/v1/timeline`
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TimelineQuery {
    /// The branch; none for the live one.
    pub(super) branch: Option<String>,
    /// Which transactions.
    pub(super) sought: Sought,
}

/// `branch`, and `around` (a time, `latest` or a GTID) or any of `grep`, `ddl=true`, `since`, `until`, `cursor`; `transactions`.
pub(super) fn timeline(query: &str) -> anyhow::Result<TimelineQuery> {
    const KNOWN: [&str; 8] = ["branch", "around", "transactions", "grep", "ddl", "since", "until", "cursor"];
    let words = words(query, &KNOWN)?;
    let count = words.get("transactions").map(|text| count(text)).transpose()?;
    let branch = words.get("branch").cloned();
    if let Some(around) = words.get("around") {
        if let Some(other) = ["grep", "ddl", "since", "until", "cursor"].iter().find(|key| words.contains_key(**key)) {
            return Err(refusal(format!("around and {other} exclude each other")).into());
        }
        return Ok(TimelineQuery { branch, sought: Sought::Around(point(around)?, count.unwrap_or(TRANSACTIONS)) });
    }
    let instant = |key: &str| words.get(key).map(|text| instant(text)).transpose();
    let matching = Matching {
        text: words.get("grep").cloned().filter(|text| !text.is_empty()),
        ddl: words.get("ddl").map(|text| flag(text)).transpose()?.unwrap_or(false),
        since_us: instant("since")?.unwrap_or(i64::MIN),
        until_us: instant("until")?.unwrap_or(i64::MAX),
        limit: count.unwrap_or(TRANSACTIONS).max(1),
        below: match words.get("cursor") {
            Some(text) => Some(text.parse().map_err(|_| refusal(format!("\"{text}\" is no cursor")))?),
            None => None,
        },
    };
    Ok(TimelineQuery { branch, sought: Sought::Matching(matching) })
}

/// `from`, `to`, `source`, `gtid` (a set), `limit`, `cursor`.
pub(super) fn binlogs(query: &str) -> anyhow::Result<(BinlogFilter, Page)> {
    let words = words(query, &["from", "to", "source", "gtid", "limit", "cursor"])?;
    let instant = |key: &str| words.get(key).map(|text| instant(text)).transpose();
    let set = |text: &String| {
        text.parse::<GtidSet>().map_err(|reason| {
            Failure::new(&code::GTID_UNREADABLE, format!("\"{text}\" is not a GTID set: {reason}"))
                .hint("MySQL: UUID[:TAG]:N[-M]...; MariaDB: DOMAIN-SERVER-SEQ,...")
                .fix("copy one from the list of base backups")
        })
    };
    let filter = BinlogFilter {
        from_us: instant("from")?,
        to_us: instant("to")?,
        source: words.get("source").cloned(),
        gtids: words.get("gtid").map(set).transpose()?,
    };
    Ok((filter, page(&words)?))
}

/// `limit`, `cursor`.
pub(super) fn backups(query: &str) -> anyhow::Result<Page> {
    Ok(page(&words(query, &["limit", "cursor"])?)?)
}

/// `branch`.
pub(super) fn windows(query: &str) -> anyhow::Result<Option<String>> {
    Ok(words(query, &["branch"])?.remove("branch"))
}

fn page(words: &BTreeMap<String, String>) -> Result<Page, Failure> {
    let limit = words.get("limit").map(|text| {
        let limit = text.parse().ok().filter(|limit| *limit > 0);
        limit.ok_or_else(|| refusal("limit is a number from 1 on".to_owned()))
    });
    Ok(Page { limit: limit.transpose()?, cursor: words.get("cursor").cloned() })
}

/// A cursor that no page gave.
pub(super) fn no_cursor() -> anyhow::Error {
    refusal("this is no cursor of this list".to_owned()).fix("\"next\" of the page before").into()
}

/// A branch that there is not, or several.
pub(super) fn no_branch(id: &str, timeline: &Timeline) -> anyhow::Error {
    let failure = Failure::new(&code::SEVERAL_BRANCHES, SearchError::NoBranch(id.to_owned()).to_string());
    failure.hint(branches(timeline)).fix("the id of one of them, or as much of it as is unique").into()
}

fn branches(timeline: &Timeline) -> String {
    let ids: Vec<&str> = timeline.branches().iter().map(|branch| branch.id.as_str()).collect();
    format!("branches: {}", ids.join(", "))
}

/// A query where none is understood.
pub(super) fn refused(path: &str) -> anyhow::Error {
    refusal(format!("{path} takes no query")).into()
}

/// Why there is no timeline.
pub(super) fn no_timeline(error: SearchError, timeline: &Timeline, archive: &Archive) -> anyhow::Error {
    match error {
        SearchError::NoBranch(id) => no_branch(&id, timeline),
        SearchError::NotOnBranch(branch) => {
            let message = format!("this transaction is not on branch {branch}");
            let failure = Failure::new(&code::GTID_NOT_REACHABLE, message);
            failure.hint(branches(timeline)).fix("another branch, or a time").into()
        }
        SearchError::Archive(error) => of_archive(&error, &archive.describe()).into(),
    }
}

fn refusal(message: String) -> Failure {
    Failure::new(&code::QUERY_UNREADABLE, message)
        .hint("an answer to another question would be believed")
        .fix("the words that it knows, or a newer sidecar")
}

fn point(text: &str) -> Result<Point, Failure> {
    if let Ok(gtid) = text.parse() {
        return Ok(Point::Before(gtid));
    }
    match parse_time(text) {
        Ok(TimeTarget::Latest) => Ok(Point::Time(i64::MAX)),
        Ok(TimeTarget::At(us)) => Ok(Point::Time(us)),
        Err(reason) => Err(unreadable(&reason.to_string())),
    }
}

fn instant(text: &str) -> Result<i64, Failure> {
    match parse_time(text) {
        Ok(TimeTarget::At(us)) => Ok(us),
        Ok(TimeTarget::Latest) => Ok(i64::MAX),
        Err(reason) => Err(unreadable(&reason.to_string())),
    }
}

fn unreadable(reason: &str) -> Failure {
    Failure::new(&code::TIME_UNREADABLE, reason.to_owned())
        .hint("an RFC 3339 time with its offset, or a GTID")
        .fix("around=2026-11-21T07:14:00Z")
}

fn count(text: &str) -> Result<usize, Failure> {
    let count = text.parse().ok().filter(|count| *count <= TRANSACTIONS_MAX);
    count.ok_or_else(|| refusal(format!("transactions is a number up to {TRANSACTIONS_MAX}")))
}

fn flag(text: &str) -> Result<bool, Failure> {
    text.parse().map_err(|_| refusal("a flag is true or false".to_owned()))
}

/// The words of a query, decoded; each of them once.
fn words(query: &str, known: &[&str]) -> Result<BTreeMap<String, String>, Failure> {
    let mut words = BTreeMap::new();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value =
            decoded(value).ok_or_else(|| refusal(format!("the value of \"{key}\" is not percent-encoded text")))?;
        if !known.contains(&key) || words.insert(key.to_owned(), value).is_some() {
            return Err(refusal(format!("\"{key}\" is unknown or stands twice; known: {}", known.join(", "))));
        }
    }
    Ok(words)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'%' => {
                let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = rest.get(2..)?;
            }
            other => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_time_or_a_transaction() {
        let around = |text: &str| timeline(text).map(|asked| asked.sought).ok();
        let time = Sought::Around(Point::Time(1_763_709_243_000_000), 5);
        assert_eq!(around("around=2025-11-21T07:14:03Z"), Some(time.clone()));
        assert_eq!(around("around=2025-11-21T08:14:03%2B01:00"), Some(time));
        let gtid = "3e11fa47-71ca-11e1-9e33-c80aa9429562:7";
        let sought = Sought::Around(Point::Before(gtid.parse().unwrap()), 2);
        assert_eq!(around(&format!("around={gtid}&transactions=2")), Some(sought));
        assert_eq!(around("around=yesterday"), None);
        assert_eq!(around("around=latest&grep=DROP"), None);
    }

    #[test]
    fn a_search_is_read_strictly() {
        let asked = timeline("grep=DROP%20TABLE&since=2025-11-21T07:14:03Z&transactions=20&branch=br-1").unwrap();
        let Sought::Matching(matching) = asked.sought else { panic!("not a search") };
        assert_eq!((matching.text.as_deref(), matching.limit, matching.ddl), (Some("DROP TABLE"), 20, false));
        assert_eq!((matching.since_us, matching.until_us), (1_763_709_243_000_000, i64::MAX));
        for bad in
            ["grepp=x", "grep=%zz", "grep=a&grep=b", "transactions=-1", "transactions=99999", "ddl=yes", "cursor=x"]
        {
            assert!(timeline(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn binlogs_are_filtered_by_what_is_understood() {
        assert_eq!(binlogs("").unwrap(), (BinlogFilter::default(), Page::default()));
        assert_eq!(binlogs("source=3e11").unwrap().0.source.as_deref(), Some("3e11"));
        assert!(binlogs("gtid=nonsense").is_err());
        assert!(binlogs("form=2025-11-21T07:14:03Z").is_err());
    }

    #[test]
    fn a_page_is_a_number_of_items_after_a_cursor() {
        let page = Page { limit: Some(2), cursor: Some("1800000000000000/bb-1".into()) };
        assert_eq!(backups("limit=2&cursor=1800000000000000%2Fbb-1").unwrap(), page);
        assert_eq!(binlogs("limit=2&cursor=1800000000000000/bb-1").unwrap().1, page);
        for bad in ["limit=0", "limit=-1", "limit=many", "limit=1&limit=2", "offset=3"] {
            assert!(backups(bad).is_err() && binlogs(bad).is_err(), "{bad}");
        }
        assert_eq!(windows("branch=br-3fa0").unwrap().as_deref(), Some("br-3fa0"));
        assert!(windows("limit=1").is_err());
    }
}
