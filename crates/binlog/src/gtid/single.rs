use std::fmt;
use std::str::FromStr;

use super::{Tag, Uuid};

/// What numbers a run of transactions: the GTID without its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GtidSource {
    /// MySQL: a server's UUID, and since 8.3 perhaps a tag.
    MySql {
        /// The server where the transaction was first committed, or the group's name.
        uuid: Uuid,
        /// The user's tag.
        tag: Option<Tag>,
    },
    /// MariaDB: a replication domain and the server where the transaction was first committed.
    MariaDb {
        /// The replication domain.
        domain: u32,
        /// The originating server's `server_id`.
        server_id: u32,
    },
}

/// The global identifier of one transaction. Text: `UUID:7`, `UUID:tag:7`, MariaDB `0-1-7`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Gtid {
    /// Who numbered it.
    pub source: GtidSource,
    /// The number, at least 1.
    pub number: u64,
}

/// A text that is no GTID, or no set of them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GtidTextError {
    /// Neither `UUID:number`, `UUID:tag:number` nor `domain-server-number`.
    #[error("\"{0}\" is no GTID")]
    NotAGtid(String),
    /// A part of a set that is neither an interval nor a tag.
    #[error("\"{0}\" is no GTID set")]
    NotASet(String),
    /// A number outside what the servers use, or an interval that ends before it begins.
    #[error("\"{0}\" is outside the range of GTID numbers")]
    OutOfRange(String),
}

/// The largest number of a MySQL GTID (`GNO_END` is 2^63-1, exclusive).
pub(super) const LARGEST_MYSQL_NUMBER: u64 = i64::MAX as u64 - 1;

impl GtidSource {
    /// The largest number that transactions of this source can have.
    pub(crate) const fn largest_number(&self) -> u64 {
        match self {
            Self::MySql { .. } => LARGEST_MYSQL_NUMBER,
            Self::MariaDb { .. } => u64::MAX,
        }
    }

    /// Reads a number of this source: decimal digits only, at least 1.
    pub(super) fn parse_number(&self, text: &str) -> Option<u64> {
        parse_digits(text).filter(|n| (1..=self.largest_number()).contains(n))
    }
}

/// Rust's own integer parser also takes a plus sign.
pub(super) fn parse_digits<N: FromStr>(text: &str) -> Option<N> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) { None } else { text.parse().ok() }
}

impl fmt::Display for GtidSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MySql { uuid, tag: None } => write!(f, "{uuid}"),
            Self::MySql { uuid, tag: Some(tag) } => write!(f, "{uuid}:{tag}"),
            Self::MariaDb { domain, server_id } => write!(f, "{domain}-{server_id}"),
        }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source {
            GtidSource::MySql { .. } => write!(f, "{}:{}", self.source, self.number),
            GtidSource::MariaDb { .. } => write!(f, "{}-{}", self.source, self.number),
        }
    }
}

impl FromStr for Gtid {
    type Err = GtidTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || GtidTextError::NotAGtid(text.to_owned());
        let (source, number) = split_source(text).ok_or_else(error)?;
        if !number.bytes().all(|b| b.is_ascii_digit()) || number.is_empty() {
            return Err(error());
        }
        let number = source.parse_number(number).ok_or_else(|| GtidTextError::OutOfRange(text.to_owned()))?;
        Ok(Self { source, number })
    }
}

/// Splits one GTID into its source and the text of its number.
fn split_source(text: &str) -> Option<(GtidSource, &str)> {
    if let Some((before, number)) = text.rsplit_once(':') {
        let (uuid, tag) = match before.split_once(':') {
            Some((uuid, tag)) => (uuid, Some(Tag::parse(tag.trim()).ok()?)),
            None => (before, None),
        };
        return Some((GtidSource::MySql { uuid: uuid.trim().parse().ok()?, tag }, number.trim()));
    }
    let mut parts = text.trim().splitn(3, '-');
    let domain = parse_digits(parts.next()?)?;
    let server_id = parse_digits(parts.next()?)?;
    Some((GtidSource::MariaDb { domain, server_id }, parts.next()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    #[test]
    fn text_and_back() {
        for text in [format!("{UUID}:7"), format!("{UUID}:night_batch:9223372036854775806"), "0-1-7".into()] {
            assert_eq!(text.parse::<Gtid>().unwrap().to_string(), text);
        }
        assert_eq!("4294967295-4294967295-18446744073709551615".parse::<Gtid>().unwrap().number, u64::MAX);
    }

    #[test]
    fn refuses_what_is_no_single_gtid() {
        let not = ["", "7", ":7", "0-1", "0-1-x", "0-1-+7", "-1-1-7", "4294967296-1-7", "0-1-7-8"];
        for text in not.into_iter().map(str::to_owned).chain([
            UUID.to_owned(),
            format!("{UUID}:"),
            format!("{UUID}:1-2"),
            format!("{UUID}:1:2"),
            format!("{UUID}:a:b:2"),
        ]) {
            assert_eq!(text.parse::<Gtid>(), Err(GtidTextError::NotAGtid(text.clone())), "{text}");
        }
        for text in [format!("{UUID}:0"), format!("{UUID}:9223372036854775807"), "0-1-0".into()] {
            assert_eq!(text.parse::<Gtid>(), Err(GtidTextError::OutOfRange(text.clone())), "{text}");
        }
    }
}
