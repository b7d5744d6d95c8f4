//! Points in time as users write them: RFC 3339 with an offset, at most microseconds, or `latest`. Nothing else: no relative
//! times, no naked local time, no rounding.

use std::fmt;

/// Microseconds in a second.
pub const SECOND_US: i64 = 1_000_000;

/// A time target as written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeTarget {
    /// The end of what is archived.
    Latest,
    /// Microseconds since 1970 UTC.
    At(i64),
}

/// Why a text is no time target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Neither RFC 3339 nor `latest`, or no day or hour that exists.
    #[error("time \"{text}\" is not an RFC 3339 time with offset")]
    NotRfc3339 {
        /// What was written.
        text: String,
    },
    /// A date and time without an offset: it means another instant in every zone.
    #[error("time \"{text}\" has no time zone")]
    NoZone {
        /// What was written.
        text: String,
        /// The instant it would be in UTC, for a message that gives the readings.
        as_utc_us: i64,
    },
    /// More than six digits of a second.
    #[error("time \"{text}\" is finer than a microsecond")]
    TooFine {
        /// What was written.
        text: String,
    },
}

/// Reads a time target, strictly.
pub fn parse_time(text: &str) -> Result<TimeTarget, TimeError> {
    if text == "latest" {
        return Ok(TimeTarget::Latest);
    }
    let not_rfc3339 = || TimeError::NotRfc3339 { text: text.to_owned() };
    let mut cursor = Cursor { rest: text.as_bytes() };
    let written = read_civil(&mut cursor).ok_or_else(not_rfc3339)?;
    let local_us = written.local_us.ok_or_else(not_rfc3339)?;
    if cursor.rest.is_empty() {
        return Err(TimeError::NoZone { text: text.to_owned(), as_utc_us: local_us });
    }
    let offset_s = read_offset(&mut cursor).filter(|_| written.complete).ok_or_else(not_rfc3339)?;
    if written.fraction_digits > 6 {
        return Err(TimeError::TooFine { text: text.to_owned() });
    }
    Ok(TimeTarget::At(local_us - offset_s * SECOND_US))
}

/// A date and a time of day, before their offset.
struct Civil {
    /// As if it were UTC; none for a day or an hour that does not exist.
    local_us: Option<i64>,
    fraction_digits: usize,
    /// As RFC 3339 wants it: a `T` between, seconds written.
    complete: bool,
}

fn read_civil(cursor: &mut Cursor<'_>) -> Option<Civil> {
    let year = cursor.digits(4)?;
    let month = cursor.after(b'-')?.digits(2)?;
    let day = cursor.after(b'-')?.digits(2)?;
    let strict = matches!(cursor.rest.first(), Some(b'T' | b't'));
    if !strict && cursor.rest.first() != Some(&b' ') {
        return None;
    }
    cursor.rest = &cursor.rest[1..];
    let hour = cursor.digits(2)?;
    let minute = cursor.after(b':')?.digits(2)?;
    let has_seconds = cursor.rest.first() == Some(&b':');
    let second = if has_seconds { cursor.after(b':')?.digits(2)? } else { 0 };
    let (fraction_us, fraction_digits) =
        if has_seconds && cursor.rest.first() == Some(&b'.') { cursor.after(b'.')?.fraction()? } else { (0, 0) };
    let exists = (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let local_us = exists.then_some(seconds * SECOND_US + fraction_us);
    Some(Civil { local_us, fraction_digits, complete: strict && has_seconds })
}

/// Seconds east of UTC. Everything must be used up.
fn read_offset(cursor: &mut Cursor<'_>) -> Option<i64> {
    if let [b'Z' | b'z'] = cursor.rest {
        return Some(0);
    }
    let sign = match cursor.rest.first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    cursor.rest = &cursor.rest[1..];
    let hours = cursor.digits(2)?;
    let minutes = cursor.after(b':')?.digits(2)?;
    (cursor.rest.is_empty() && hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

struct Cursor<'a> {
    rest: &'a [u8],
}

impl Cursor<'_> {
    fn after(&mut self, byte: u8) -> Option<&mut Self> {
        self.rest = self.rest.strip_prefix(&[byte])?;
        Some(self)
    }

    fn digits(&mut self, count: usize) -> Option<i64> {
        let (digits, rest) = self.rest.split_at_checked(count)?;
        self.rest = rest;
        digits.iter().try_fold(0, |number, byte| {
            let digit = char::from(*byte).to_digit(10)?;
            Some(number * 10 + i64::from(digit))
        })
    }

    /// All digits that follow, as microseconds (cut, not rounded), and how many there were.
    fn fraction(&mut self) -> Option<(i64, usize)> {
        let count = self.rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let used = count.min(6);
        let micros = self.digits(used)? * 10_i64.pow(6 - used as u32);
        self.rest = &self.rest[count - used..];
        (count > 0).then_some((micros, count))
    }
}

/// An instant as RFC 3339 text in UTC: microseconds where there are any, whole seconds without a fraction.
#[must_use]
pub fn format_time(us: i64) -> String {
    Rfc3339(us).to_string()
}

/// The same, to be written into a text. Years outside 0000 to 9999 are written with as many digits as they need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rfc3339(pub i64);

impl fmt::Display for Rfc3339 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seconds, micros) = (self.0.div_euclid(SECOND_US), self.0.rem_euclid(SECOND_US));
        let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil_of_days(days);
        let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if micros > 0 {
            write!(f, ".{micros:06}")?;
        }
        f.write_str("Z")
    }
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar. The year is counted from March, so that the leap day is its last, and in
/// eras of 400 years, which all have 146,097 days.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let from_march = if month > 2 { year } else { year - 1 };
    let (era, year_of_era) = (from_march.div_euclid(400), from_march.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The inverse: year, month, day.
fn civil_of_days(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * from_march + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> i64 {
        match parse_time(text) {
            Ok(TimeTarget::At(us)) => us,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn reads_rfc3339() {
        assert_eq!(parse_time("latest"), Ok(TimeTarget::Latest));
        assert_eq!(at("1970-01-01T00:00:00Z"), 0);
        assert_eq!(at("1969-12-31T23:59:59.999999Z"), -1);
        assert_eq!(at("2026-11-21T07:14:03Z"), 1_795_245_243_000_000);
        assert_eq!(at("2026-11-21T08:14:03+01:00"), at("2026-11-21T07:14:03Z"));
        assert_eq!(at("2026-11-21T01:44:03.5-05:30"), at("2026-11-21T07:14:03.500000Z"));
        assert_eq!(at("2000-02-29t12:00:00.000001z"), at("2000-02-29T12:00:00Z") + 1);
        assert_eq!(at("2026-11-21T07:14:03-00:00"), at("2026-11-21T07:14:03Z"));
    }

    #[test]
    fn a_naked_time_is_not_guessed() {
        let as_utc_us = at("2026-11-21T08:14:00Z");
        for text in ["2026-11-21 08:14", "2026-11-21T08:14", "2026-11-21T08:14:00", "2026-11-21 08:14:00.000000"] {
            assert_eq!(parse_time(text), Err(TimeError::NoZone { text: text.into(), as_utc_us }), "{text}");
        }
    }

    #[test]
    fn finer_than_a_microsecond_is_refused_not_rounded() {
        let text = "2026-11-21T08:14:00.1234567Z";
        assert_eq!(parse_time(text), Err(TimeError::TooFine { text: text.into() }));
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "15m ago",
            "now",
            "Latest",
            "10",
            "2026-11-21",
            "2026-11-21T",
            "2026-11-21T08:14Z",
            "2026-11-21 08:14:00Z",
            "2026-11-21T08:14:00.Z",
            "2026-11-21T08:14:00,5Z",
            "2026-11-21T08:14:60Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T08:60:00Z",
            "2026-13-01T08:14:00Z",
            "2026-02-29T08:14:00Z",
            "2026-11-00T08:14:00Z",
            "2026-11-21T08:14:00+1:00",
            "2026-11-21T08:14:00+0100",
            "2026-11-21T08:14:00+24:00",
            "2026-11-21T08:14:00Z ",
            " 2026-11-21T08:14:00Z",
            "2026-11-21T08:14:00 UTC",
            "2026-11-21T08:14:00Zulu",
            "+026-11-21T08:14:00Z",
            "٢026-11-21T08:14:00Z",
        ] {
            assert_eq!(parse_time(text), Err(TimeError::NotRfc3339 { text: text.into() }), "{text:?}");
        }
    }

    #[test]
    fn writes_what_it_reads() {
        assert_eq!(format_time(at("2026-11-21T07:30:18.402117Z")), "2026-11-21T07:30:18.402117Z");
        assert_eq!(format_time(at("2026-11-21T07:30:18.000000Z")), "2026-11-21T07:30:18Z");
        assert_eq!(format_time(at("2026-11-21T07:30:18.5Z")), "2026-11-21T07:30:18.500000Z");
        assert_eq!(format_time(at("0000-01-01T00:00:00Z")), "0000-01-01T00:00:00Z");
        assert_eq!(format_time(at("9999-12-31T23:59:59.999999Z")), "9999-12-31T23:59:59.999999Z");
    }

    proptest! {
        #[test]
        fn parse_undoes_format(us in -62_167_219_200_000_000_i64..253_402_300_800_000_000) {
            prop_assert_eq!(at(&format_time(us)), us);
        }

        #[test]
        fn days_follow_each_other(days in -719_528_i64..2_932_896) {
            let (year, month, day) = civil_of_days(days);
            prop_assert_eq!(days_since_1970(year, month, day), days);
            let next = civil_of_days(days + 1);
            let expected = if day < days_of_month(year, month) {
                (year, month, day + 1)
            } else if month < 12 {
                (year, month + 1, 1)
            } else {
                (year + 1, 1, 1)
            };
            prop_assert_eq!(next, expected);
        }

        #[test]
        fn never_panics(text in "\\PC{0,40}") {
            let _ = parse_time(&text);
        }

        #[test]
        fn never_panics_on_what_looks_like_a_time(text in "[0-9T:.+Z -]{0,40}") {
            let _ = parse_time(&text);
        }
    }
}
