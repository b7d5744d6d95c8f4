//! The text form of GTID sets.
//!
//! MySQL's is the server's own (`gtid_executed`): `uuid:1-5:7:tag:1-2,uuid:1`, sources in ascending order; reading also
//! takes `uuid:1-5,uuid:tag:1-2`, white space and empty elements. MariaDB has text for positions only: `0-1-7` is read
//! as all of 0-1-1 to 0-1-7, which is what a position claims; an interval that begins later is written `0-1-5..7`.

use std::fmt;
use std::str::FromStr;

use super::single::parse_digits;
use super::{GtidSet, GtidSource, GtidTextError, Tag, Uuid};

impl fmt::Display for GtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut written: Option<Uuid> = None;
        for (i, (source, intervals)) in self.sources.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match source {
                GtidSource::MySql { uuid, tag } => {
                    if written != Some(*uuid) {
                        write!(f, "{comma}{uuid}")?;
                        written = Some(*uuid);
                    }
                    if let Some(tag) = tag {
                        write!(f, ":{tag}")?;
                    }
                    for interval in intervals.as_slice() {
                        write!(f, ":{}", interval.first)?;
                        if interval.last > interval.first {
                            write!(f, "-{}", interval.last)?;
                        }
                    }
                }
                GtidSource::MariaDb { .. } => {
                    for (j, interval) in intervals.as_slice().iter().enumerate() {
                        let comma = if i + j > 0 { "," } else { "" };
                        write!(f, "{comma}{source}-")?;
                        if interval.first > 1 {
                            write!(f, "{}..", interval.first)?;
                        }
                        write!(f, "{}", interval.last)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl FromStr for GtidSet {
    type Err = GtidTextError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut set = Self::new();
        for element in text.split(',').map(str::trim).filter(|element| !element.is_empty()) {
            if element.contains(':') {
                add_mysql(&mut set, element)?;
            } else {
                add_mariadb(&mut set, element)?;
            }
        }
        Ok(set)
    }
}

/// Adds `uuid(:tag|:first|:first-last)...`; a tag is for the intervals after it.
fn add_mysql(set: &mut GtidSet, element: &str) -> Result<(), GtidTextError> {
    let not_a_set = || GtidTextError::NotASet(element.to_owned());
    let mut parts = element.split(':').map(str::trim);
    let uuid = parts.next().and_then(|uuid| uuid.parse().ok()).ok_or_else(not_a_set)?;
    let mut source = GtidSource::MySql { uuid, tag: None };
    let mut complete = false;
    for part in parts {
        if !part.starts_with(|c: char| c.is_ascii_digit()) {
            source = GtidSource::MySql { uuid, tag: Some(Tag::parse(part).map_err(|_| not_a_set())?) };
            complete = false;
            continue;
        }
        let (first, last) = part.split_once('-').map_or((part, part), |(first, last)| (first.trim(), last.trim()));
        add_interval(set, source, (first, last), element)?;
        complete = true;
    }
    if complete { Ok(()) } else { Err(not_a_set()) }
}

/// Adds `domain-server-last` or `domain-server-first..last`.
fn add_mariadb(set: &mut GtidSet, element: &str) -> Result<(), GtidTextError> {
    let not_a_set = || GtidTextError::NotASet(element.to_owned());
    let mut parts = element.splitn(3, '-');
    let mut part = || parts.next().ok_or_else(not_a_set);
    let domain = parse_digits(part()?).ok_or_else(not_a_set)?;
    let server_id = parse_digits(part()?).ok_or_else(not_a_set)?;
    let numbers = part()?;
    let interval = numbers.split_once("..").unwrap_or(("1", numbers));
    add_interval(set, GtidSource::MariaDb { domain, server_id }, interval, element)
}

fn add_interval(
    set: &mut GtidSet,
    source: GtidSource,
    (first, last): (&str, &str),
    element: &str,
) -> Result<(), GtidTextError> {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !digits(first) || !digits(last) {
        return Err(GtidTextError::NotASet(element.to_owned()));
    }
    match (source.parse_number(first), source.parse_number(last)) {
        (Some(first), Some(last)) if first <= last => {
            set.insert_range(&source, first..=last);
            Ok(())
        }
        _ => Err(GtidTextError::OutOfRange(element.to_owned())),
    }
}
