//! What is asked about the log of a workload: as a request to a sidecar, and as a search in an archive.

use pitr_archive::document::BinlogFilter;
use pitr_archive::{Matching, Point, Sought};
use pitr_recovery::Rfc3339;

/// A question about transactions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The branch; none for the live one.
    pub branch: Option<String>,
    pub sought: Sought,
}

impl Question {
    /// `/v1/timeline?around=2026-11-21T07:14:03Z&transactions=5`
    pub fn path(&self) -> String {
        let mut words = vec![("branch", self.branch.clone())];
        match &self.sought {
            Sought::Around(point, count) => {
                let at = match point {
                    Point::Time(i64::MAX) => "latest".to_owned(),
                    Point::Time(us) => Rfc3339(*us).to_string(),
                    Point::Before(gtid) => gtid.to_string(),
                };
                words.extend([("around", Some(at)), ("transactions", Some(count.to_string()))]);
            }
            Sought::Matching(Matching { text, ddl, since_us, until_us, limit, below }) => {
                let instant = |us: i64| (us != i64::MAX && us != i64::MIN).then(|| Rfc3339(us).to_string());
                words.extend([
                    ("grep", text.clone()),
                    ("ddl", ddl.then(|| "true".to_owned())),
                    ("since", instant(*since_us)),
                    ("until", instant(*until_us)),
                    ("transactions", Some(limit.to_string())),
                    ("cursor", below.as_ref().map(ToString::to_string)),
                ]);
            }
        }
        path("/v1/timeline", words)
    }
}

/// `/v1/binlogs?from=...`
pub fn binlogs_path(filter: &BinlogFilter) -> String {
    let words = vec![
        ("from", filter.from_us.map(|us| Rfc3339(us).to_string())),
        ("to", filter.to_us.map(|us| Rfc3339(us).to_string())),
        ("source", filter.source.clone()),
        ("gtid", filter.gtids.as_ref().map(ToString::to_string)),
    ];
    path("/v1/binlogs", words)
}

/// The same question, from where its last answer ended.
pub fn with_cursor(path: &str, cursor: &str) -> String {
    let separator = if path.contains('?') { '&' } else { '?' };
    format!("{path}{separator}cursor={}", encoded(cursor))
}

fn path(path: &str, words: Vec<(&str, Option<String>)>) -> String {
    let words = words.into_iter().filter_map(|(key, value)| Some(format!("{key}={}", encoded(&value?))));
    let query = words.collect::<Vec<_>>().join("&");
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}

/// Percent-encoded but for what RFC 3986 leaves alone everywhere.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'.' | b'_' | b'~' | b':' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_a_path() {
        let around = |point| Question { branch: None, sought: Sought::Around(point, 5) }.path();
        assert_eq!(around(Point::Time(i64::MAX)), "/v1/timeline?around=latest&transactions=5");
        assert_eq!(
            around(Point::Time(1_763_709_243_000_000)),
            "/v1/timeline?around=2025-11-21T07:14:03Z&transactions=5"
        );
        let matching = Matching {
            text: Some("drop `ä`&x".into()),
            ddl: true,
            since_us: i64::MIN,
            until_us: 0,
            limit: 20,
            below: None,
        };
        assert_eq!(
            Question { branch: Some("br-1".into()), sought: Sought::Matching(matching) }.path(),
            "/v1/timeline?branch=br-1&grep=drop%20%60%C3%A4%60%26x&ddl=true&until=1970-01-01T00:00:00Z&transactions=20"
        );
        assert_eq!(binlogs_path(&BinlogFilter::default()), "/v1/binlogs");
    }
}
