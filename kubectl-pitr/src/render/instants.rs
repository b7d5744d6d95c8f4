//! Instants as text. UTC first, always; another zone only beside it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// The zone that is shown beside UTC.
#[derive(Debug, Clone)]
pub struct Zone(Option<(String, TimeZone)>);

impl Zone {
    /// UTC alone.
    pub const UTC: Self = Self(None);

    /// A zone of the time zone database by name.
    pub fn named(name: &str) -> Result<Self, String> {
        if name.eq_ignore_ascii_case("utc") {
            return Ok(Self::UTC);
        }
        let zone = TimeZone::get(name).map_err(|_| format!("unknown time zone \"{name}\""))?;
        Ok(Self(Some((name.to_owned(), zone))))
    }

    /// The other zone, if there is one.
    pub fn named_zone(&self) -> Option<(String, TimeZone)> {
        self.0.clone()
    }

    /// `08:14:03 Europe/Paris`, with the date where it is another one than in UTC; nothing when only UTC is wanted.
    pub fn beside(&self, instant: Timestamp) -> Option<String> {
        let (name, zone) = self.0.as_ref()?;
        let local = instant.to_zoned(zone.clone());
        let format =
            if local.date() == instant.to_zoned(TimeZone::UTC).date() { "%H:%M:%S" } else { "%Y-%m-%dT%H:%M:%S" };
        Some(format!("{} {name}", local.strftime(format)))
    }
}

/// As short as it can be without losing a microsecond: `2026-11-21T07:30:18Z`, `2026-11-21T07:30:18.402117Z`.
pub fn to_micros(instant: Timestamp) -> String {
    let micros = instant.as_microsecond();
    let format = if micros.rem_euclid(1_000_000) == 0 { "%Y-%m-%dT%H:%M:%SZ" } else { "%Y-%m-%dT%H:%M:%S.%6fZ" };
    instant.strftime(format).to_string()
}

/// The whole second at or before: for ends of windows, so that what is shown can be pasted back.
pub fn seconds_down(instant: Timestamp) -> Timestamp {
    let seconds = instant.as_microsecond().div_euclid(1_000_000);
    Timestamp::from_second(seconds).unwrap_or(instant)
}

/// The whole second at or after: for starts of windows.
pub fn seconds_up(instant: Timestamp) -> Timestamp {
    let micros = instant.as_microsecond();
    let seconds = micros.div_euclid(1_000_000) + i64::from(micros.rem_euclid(1_000_000) != 0);
    Timestamp::from_second(seconds).unwrap_or(instant)
}

/// The end of a window, as short as it can be and still lie in it.
pub fn end_shown(from: Option<Timestamp>, to: Timestamp) -> String {
    let second = seconds_down(to);
    to_micros(if from.is_some_and(|from| second < from) { to } else { second })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn no_microsecond_is_lost_and_none_invented() {
        assert_eq!(to_micros(at("2026-11-21T07:30:18.402117Z")), "2026-11-21T07:30:18.402117Z");
        assert_eq!(to_micros(at("2026-11-21T08:30:18+01:00")), "2026-11-21T07:30:18Z");
        assert_eq!(to_micros(at("2026-11-21T07:30:18.4Z")), "2026-11-21T07:30:18.400000Z");
    }

    #[test]
    fn starts_go_up_and_ends_go_down() {
        let t = at("2026-11-21T07:30:18.402117Z");
        assert_eq!(to_micros(seconds_up(t)), "2026-11-21T07:30:19Z");
        assert_eq!(to_micros(seconds_down(t)), "2026-11-21T07:30:18Z");
        let whole = at("2026-11-21T07:30:18Z");
        assert_eq!((seconds_up(whole), seconds_down(whole)), (whole, whole));
        let before_epoch = at("1969-12-31T23:59:58.5Z");
        assert_eq!(to_micros(seconds_down(before_epoch)), "1969-12-31T23:59:58Z");
        assert_eq!(to_micros(seconds_up(before_epoch)), "1969-12-31T23:59:59Z");
    }

    #[test]
    fn another_zone_stands_beside_utc() {
        let paris = Zone::named("Europe/Paris").unwrap();
        assert_eq!(paris.beside(at("2026-11-21T07:14:03Z")).unwrap(), "08:14:03 Europe/Paris");
        assert_eq!(paris.beside(at("2026-11-21T23:14:03Z")).unwrap(), "2026-11-22T00:14:03 Europe/Paris");
        assert_eq!(Zone::UTC.beside(at("2026-11-21T07:14:03Z")), None);
        assert!(Zone::named("Mars/Olympus").is_err());
    }
}
